"""`make lab` has each kernel run this first: a chapter's last cell alone says what to run."""

from IPython import get_ipython

from seghw.errors import explain_in

if get_ipython():  # else a plain Python, in a terminal of JupyterLab's
    explain_in(get_ipython())
del explain_in
