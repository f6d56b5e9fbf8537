"""Draws orders of a sample's images, and rewrites the question and answer for each order.

``orders.py`` draws permutations. ``slots.py`` and ``labels.py`` find the words that stay in place;
``mentions.py``, ``chinese.py``, ``bare.py`` and ``options.py`` find the words that follow the
images; ``answers.py`` reads the answer, and ``invariant.py`` says whether one that should stay
names an image, with ``lone.py`` and ``bare_answers.py`` for names without a noun. ``wraps.py``
makes blanks inside names plain. ``doubts.py`` refuses words that none of them can read, and
``change.py`` questions about what changes between images. ``engine.py`` joins them.
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
    cyclic_orders,
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
    "cyclic_orders",
    "draw_orders",
    "gold_slot",
    "identity",
    "number_of_orders",
    "read",
    "refusal",
]
