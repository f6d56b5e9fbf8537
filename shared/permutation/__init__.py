"""Orders of a sample's images: drawing them, and asking the same question in each.

``orders.py`` draws permutations; ``slots.py`` finds what stays, ``mentions.py``, ``chinese.py`` and
``options.py`` what follows the images, ``answers.py`` what the answer names; ``doubts.py`` refuses
what none of them reads; ``engine.py`` puts them together.
"""

from shared.permutation.engine import (
    RenderedOrder,
    answer_in_original,
    answer_under,
    apply_order,
    count_refusals,
    gold_slot,
    read,
    refusal,
)
from shared.permutation.names import ORDINALS
from shared.permutation.orders import (
    Permutation,
    all_orders,
    draw_orders,
    identity,
    number_of_orders,
)

__all__ = [
    "ORDINALS",
    "Permutation",
    "RenderedOrder",
    "all_orders",
    "answer_in_original",
    "answer_under",
    "apply_order",
    "count_refusals",
    "draw_orders",
    "gold_slot",
    "identity",
    "number_of_orders",
    "read",
    "refusal",
]
