"""Items in groups: all of them, in their order, and no group larger than its last item makes it."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.components.sources.grouping import grouped


@given(sizes=st.lists(st.integers(0, 20)), most_bytes=st.integers(1, 40), most_items=st.integers(1, 5))
def test_all_items_are_in_groups_that_end_at_the_first_limit(sizes, most_bytes, most_items):
    groups = list(grouped(sizes, size_bytes=int, most_bytes=most_bytes, most_items=most_items))
    assert [size for group in groups for size in group] == sizes
    assert all(sum(group[:-1]) < most_bytes and len(group) <= most_items for group in groups)
    assert all(sum(group) >= most_bytes or len(group) == most_items for group in groups[:-1])


def test_a_group_is_given_before_the_next_item_is_taken():
    taken = []

    def items():
        for number in range(4):
            taken.append(number)
            yield number

    groups = grouped(items(), size_bytes=lambda _: 1, most_bytes=2, most_items=9)
    assert next(groups) == [0, 1]
    assert taken == [0, 1]
