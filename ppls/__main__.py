"""`python -m ppls` is the command `ppls`."""

from ppls.cli.verbs import ppls

if __name__ == "__main__":
    ppls()
