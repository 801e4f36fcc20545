"""The JSON files of the artifact tree: what each holds, and what it was made from."""
