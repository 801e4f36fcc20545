"""What DVC prints: it has no public way to report what `dvc repro` does."""

import re

TESTED_VERSIONS = ("3.67",)

STAGE = re.compile(
    r"(?P<running>Running stage )?(?:Stage )?'(?P<name>[^'@]+)(?:@[^']+)?'"
    r"(?:(?P<unchanged> didn't change, skipping)|(?P<restored> is cached - skipping run)|:$)"
)
FAILED = re.compile(r"^ERROR: failed to reproduce '(?P<name>[^'@]+)(?:@[^']+)?'(?:.* exited with (?P<code>-?\d+))?")
CHATTER = re.compile(
    r"\s*$|> |(Generating|Updating) lock file |Use `dvc push` |To track the changes with git|To enable auto staging"
    r"|If there are no processes with such PIDs"
    r"|\s+git add |\s+dvc config core\.autostage|Data and pipelines are up to date"
)
BLOCKED = re.compile(r"is busy, it is being blocked by:\s*\(PID (\d+)\)")
