"""The user of this process."""

import getpass
import os


def user_name() -> str:
    """Name of the user; the number of one without a name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
