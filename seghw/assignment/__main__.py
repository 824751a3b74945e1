"""``python -m seghw.assignment edition|submit|grade``: hand out, hand in, grade."""

import argparse
import sys
from pathlib import Path

from seghw.assignment.edition import EDITION, make_edition
from seghw.assignment.grade import SECONDS, grade, submit
from seghw.errors import BadInput

parser = argparse.ArgumentParser(prog="python -m seghw.assignment", description=__doc__)
verbs = parser.add_subparsers(required=True, dest="verb")
verb = verbs.add_parser("edition", help="write the students' notebooks")
verb.add_argument("--out", type=Path, default=EDITION)
verb = verbs.add_parser("submit", help="check an edition and zip it to hand it in")
verb.add_argument("--name", required=True)
verb.add_argument("--edition", type=Path, default=EDITION)
verb = verbs.add_parser("grade", help="grade a folder of submissions")
verb.add_argument("submissions", type=Path)
verb.add_argument("--out", type=Path, default=EDITION.parent / "grades")
verb.add_argument("--seconds", type=float, default=SECONDS, help="that a task may take")
arguments = parser.parse_args()
try:
    if arguments.verb == "edition":
        print(make_edition(arguments.out))
    elif arguments.verb == "submit":
        print(f"hand in {submit(arguments.name, arguments.edition)}")
    else:
        print(grade(arguments.submissions, arguments.out, arguments.seconds))
except (BadInput, OSError) as error:
    sys.exit(f"seghw: {' '.join(str(error).split())}")
