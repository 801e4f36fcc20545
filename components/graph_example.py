"""Two small sums as a graph for TensorBoard: (2 + 3) x 4 and 3 + 4, each in a name scope of its own."""

from pathlib import Path

import tensorflow as tf


def write_graph_example(folder: Path) -> dict[str, int]:
    """Write the graph, and both results as scalars, into an event file in `folder`; return the results by formula."""
    results = {"(2 + 3) x 4": _product, "3 + 4": _sum}
    # Both in one graph: TensorBoard shows one per folder.
    both = tf.function(lambda: [compute() for compute in results.values()]).get_concrete_function()
    values = {formula: int(value) for formula, value in zip(results, both(), strict=True)}
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        tf.summary.graph(both.graph)
        for name, value in zip(("product", "sum"), values.values(), strict=True):
            tf.summary.scalar(name, value, step=0)
    writer.close()
    return values


def _product() -> tf.Tensor:
    with tf.name_scope("product"):
        two, three, four = (tf.constant(value, name=name) for value, name in ((2, "two"), (3, "three"), (4, "four")))
        return tf.multiply(tf.add(two, three, name="add"), four, name="multiply")


def _sum() -> tf.Tensor:
    with tf.name_scope("sum"):
        return tf.add(tf.constant(3, name="three"), tf.constant(4, name="four"), name="add")
