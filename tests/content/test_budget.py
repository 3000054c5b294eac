"""The bytes on their way: never more than allowed but for one that is alone, urgent ones first, and all come in the end."""

from hypothesis import given
from hypothesis import strategies as st

from artfs.content.budget import Budget
from tests.model.strategies import examples


def test_what_fits_begins_at_once_and_the_rest_in_its_order_as_bytes_come_back():
    begun, budget = [], Budget(10)
    requests = [budget.ask(5, lambda number=number: begun.append(number), urgent=False) for number in range(4)]
    assert begun == [0, 1]
    assert budget.in_use == 10
    budget.give_back(requests[1])
    assert begun == [0, 1, 2]
    budget.give_back(requests[0])
    budget.give_back(requests[2])
    assert begun == [0, 1, 2, 3]


def test_who_is_waited_for_goes_first_and_is_not_overtaken_by_smaller_ones():
    begun, budget = [], Budget(10)
    first = budget.ask(10, lambda: begun.append("first"), urgent=True)
    patient = budget.ask(1, lambda: begun.append("patient"), urgent=False)
    budget.ask(8, lambda: begun.append("urgent"), urgent=True)
    promoted = budget.ask(2, lambda: begun.append("promoted"), urgent=False)
    budget.promote(promoted)
    budget.give_back(first)
    assert begun == ["first", "urgent", "promoted"]
    budget.give_back(promoted)
    assert begun[-1] == "patient"
    budget.promote(patient)
    assert begun[-1] == "patient"


def test_one_that_is_bigger_than_all_takes_all():
    begun, budget = [], Budget(10)
    request = budget.ask(1000, lambda: begun.append("big"), urgent=False)
    assert begun == ["big"]
    assert budget.in_use == 10
    budget.give_back(request)
    assert budget.in_use == 0


@examples(100)
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans(), st.sampled_from(["keep", "promote", "return"]))))
def test_the_limit_holds_and_everybody_comes_to_his_turn(asked):
    budget, begun, running = Budget(20), [], []
    for number, (size, urgent, then) in enumerate(asked):

        def begin(number=number):
            begun.append(number)

        request = budget.ask(size, begin, urgent=urgent)
        running.append(request)
        if then == "promote":
            budget.promote(request)
        granted = [one for one in running if one.granted]
        if then == "return" and granted:
            running.remove(granted[0])
            budget.give_back(granted[0])
        assert 0 <= budget.in_use <= 20
        assert budget.in_use == sum(one.size for one in running if one.granted)
    while running:
        granted = [one for one in running if one.granted]
        assert granted, "nobody is on the way, and somebody waits"
        running.remove(granted[0])
        budget.give_back(granted[0])
    assert sorted(begun) == list(range(len(asked)))
    assert budget.in_use == 0
