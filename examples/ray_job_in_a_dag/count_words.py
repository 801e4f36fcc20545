"""What the job runs: counts words on the nodes of a Ray cluster. It knows nothing of Headrace or Airflow."""

import ray


@ray.remote
def count_words(text: str) -> int:
    """Number of words in a text."""
    return len(text.split())


ray.init()
texts = ["one two three", "four five", "six"]
print(sum(ray.get([count_words.remote(text) for text in texts])), "words")
