"""Products, their prices and what is paid back: the judgment's figures, and what holds for every price and day."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import BadInput, UnknownName
from duecare.systems.passes.products import PASS_FOR_TWO, PRODUCTS, SINGLE_TICKET, Product, Way, product
from duecare.systems.passes.refunds import pro_rata

BOUGHT = date(2019, 4, 27)


def test_the_products_of_the_judgment() -> None:
    """A ticket is 220 yuan for a day, a pass for two 1,360 for 365 days, in every way that it is offered."""
    assert SINGLE_TICKET.price("ticket") == 220
    assert [PASS_FOR_TWO.price(way.method) for way in PASS_FOR_TWO.ways] == [1360] * 3
    assert {way.days for way in PASS_FOR_TWO.ways} == {365}
    assert PASS_FOR_TWO.persons == 2


@pytest.mark.parametrize(
    ("year", "due"), [(1, "1360.00"), (2, "1251.20"), (3, "1251.20"), (4, "1156.00"), (5, "0.00"), (6, "1360.00")]
)
def test_renewals_earn_discounts(year: int, due: str) -> None:
    """Years 2 and 3 cost 92%, year 4 85%, year 5 nothing; then the row begins anew. To the fen, exactly."""
    assert PASS_FOR_TWO.price("card_id_card", year) == Decimal(due)
    assert str(PASS_FOR_TWO.price("card_id_card", year)) == due


def test_the_last_day_is_counted() -> None:
    """A pass of 365 days bought on 27 April 2019 ends on 25 April 2020: the first day counts, over a leap year."""
    assert PASS_FOR_TWO.last_day(BOUGHT, "card_face") == date(2020, 4, 25)
    assert SINGLE_TICKET.last_day(BOUGHT, "ticket") == BOUGHT


@pytest.mark.parametrize(
    ("given_product", "way", "year"), [(SINGLE_TICKET, "ticket", 2), (PASS_FOR_TWO, "card_face", 0)]
)
def test_a_year_that_is_not_sold_is_refused(given_product: Product, way: str, year: int) -> None:
    """A ticket is not renewed, and there is no year 0."""
    with pytest.raises(BadInput, match=f"no year {year}"):
        given_product.price(way, year)


def test_unknown_names_are_refused() -> None:
    """A product or way that is not sold is an error that names those that are."""
    with pytest.raises(UnknownName, match="pass_for_two"):
        product("pass_for_tow")
    with pytest.raises(UnknownName, match="card_face"):
        PASS_FOR_TWO.way("card_fase")
    assert product("single_ticket") is PRODUCTS["single_ticket"]


@pytest.mark.parametrize(
    ("plain", "equal"),
    [
        (Way("card_id_card", Decimal(1360), 365), True),
        (Way("card_id_card", Decimal(1361), 365), False),
        (Way("card_id_card", Decimal(1360), 364), False),
        (Way("card_id_card", Decimal(1000), 400), True),
        (Way("card_fingerprint", Decimal(1360), 365), False),
    ],
)
def test_equal_standing(plain: Way, equal: bool) -> None:
    """A way of equal standing has no biometrics, is no dearer and is valid for no fewer days."""
    face = Way("card_face", Decimal(1360), 365)
    assert Product("p", "年卡", "pass", 1, (face, plain)).alternative(face) is equal
    assert not Product("p", "年卡", "pass", 1, (face,)).alternative(face)


def test_the_refund_of_the_judgment() -> None:
    """From the visit on 26 October 2019 to the end on 25 April 2020, 182 of 365 days of 1,360 yuan are left: 678."""
    refund = pro_rata(Decimal(1360), BOUGHT, date(2020, 4, 25), date(2019, 10, 26))
    assert (refund.days_left, refund.days, refund.amount) == (182, 365, 678)


@pytest.mark.parametrize(
    ("on", "left", "amount"),
    [
        (date(2019, 4, 26), 365, "1360"),
        (date(2019, 4, 27), 364, "1356"),
        (date(2020, 4, 24), 1, "4"),
        (date(2020, 4, 25), 0, "0"),
        (date(2021, 1, 1), 0, "0"),
    ],
)
def test_the_day_of_the_event_is_used(on: date, left: int, amount: str) -> None:
    """The day itself counts as used, the last day as left; before the first day everything is paid back."""
    refund = pro_rata(Decimal(1360), BOUGHT, date(2020, 4, 25), on)
    assert (refund.days_left, refund.amount) == (left, Decimal(amount))


def test_a_half_is_rounded_upwards() -> None:
    """Half a yuan is rounded in favour of the holder."""
    assert pro_rata(Decimal(1), date(2020, 1, 1), date(2020, 1, 2), date(2020, 1, 1)).amount == 1
    assert pro_rata(Decimal("0.99"), date(2020, 1, 1), date(2020, 1, 2), date(2020, 1, 1)).amount == 0


def test_what_cannot_be_refunded_is_refused() -> None:
    """A pass that ends before it begins, or a price below nothing, is an error that names both."""
    with pytest.raises(BadInput, match="cannot be refunded"):
        pro_rata(Decimal(1360), BOUGHT, BOUGHT - timedelta(days=1), BOUGHT)
    with pytest.raises(BadInput, match="cannot be refunded"):
        pro_rata(Decimal(-1), BOUGHT, BOUGHT, BOUGHT)


@given(
    price=st.decimals(0, 100_000, places=2),
    days=st.integers(1, 800),
    first=st.dates(date(2000, 1, 1), date(2030, 1, 1)),
    offset=st.integers(-30, 900),
    later=st.integers(0, 900),
)
def test_refunds_fall_with_time(price: Decimal, days: int, first: date, offset: int, later: int) -> None:
    """For every price and pass: never below nothing or above the price, never more on a later day, nothing on the
    last day, and never further than half a yuan from the exact share."""
    last = first + timedelta(days=days - 1)
    on = first + timedelta(days=offset)
    now, then = (pro_rata(price, first, last, day) for day in (on, on + timedelta(days=later)))
    assert 0 <= then.amount <= now.amount <= price
    assert pro_rata(price, first, last, last).amount == 0
    exact = price * now.days_left / now.days
    assert abs(now.amount - exact) <= Decimal("0.5")
