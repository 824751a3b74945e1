"""`make lab` has each kernel run this first: a chapter's last cell alone says what to run."""

from seghw.errors import explain_in

explain_in(get_ipython())  # noqa: F821
del explain_in
