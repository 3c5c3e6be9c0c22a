"""`python -m limbic.cli`: the same as `limbic`, from a checkout that is not installed."""

from limbic.cli import app

app(prog_name="limbic")
