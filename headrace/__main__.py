"""`python -m headrace`: the command line."""

from headrace.pipelines.__main__ import main

main()
