"""Problems that a user can fix. Anything else that is raised is a bug and keeps its traceback."""

from typing import ClassVar

from headrace.components.redaction import redacted

# Exit codes of the command line, by which a scheduler decides whether to try again.
EXIT_MISTAKE = 2
EXIT_LIMIT = 3  # an answer, and no failure: a measured value is beyond a limit
EXIT_SERVICE = 75  # EX_TEMPFAIL of sysexits.h


class UserError(Exception):
    """Base of all errors that are shown as one line, without a traceback; the command line exits with `exit_code`.

    Its message may quote anything: secrets of addresses are taken out here, before anybody logs or sends it.
    """

    exit_code: ClassVar[int] = EXIT_MISTAKE

    def __init__(self, *values: object) -> None:
        super().__init__(*(redacted(value) if isinstance(value, str) else value for value in values))


class ParamsError(UserError):
    """params.yaml, or a command line argument, asks for something that can't be done."""


class DataError(UserError):
    """The data is not what params.yaml says it is: a wrong file, column, type, value or count."""


class TrainingError(UserError):
    """Training ended without a model: a worker failed, or the loss stopped being finite."""


class ServiceError(UserError):
    """Something outside can't be reached or refuses: network, storage, Ray, MLflow, DVC. It exits with EXIT_SERVICE."""

    exit_code = EXIT_SERVICE


class LimitError(UserError):
    """A measured value is beyond a limit of params.yaml. The command has done its work, and exits with EXIT_LIMIT."""

    exit_code = EXIT_LIMIT


class StoreError(ServiceError):
    """State on this machine is gone or damaged, and trying again can't help. It exits with EXIT_MISTAKE."""

    exit_code = EXIT_MISTAKE
