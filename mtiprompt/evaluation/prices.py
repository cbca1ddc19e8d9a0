"""What the tokens of a run would cost at the price of a model, from litellm's table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtiprompt.errors import DataError
from mtiprompt.models.budget import Budget
from mtiprompt.models.via_litellm import list_prices
from mtiprompt.wire import Usage


@dataclass(frozen=True)
class Price:
    """What a model costs.

    Attributes:
        name: The name of the model.
        prompt: US dollars for a token that is read.
        cached: The same for a token that the provider has in its prompt cache.
        completion: US dollars for a token that is written.
    """

    name: str
    prompt: float
    cached: float
    completion: float

    def cost(self, usage: Usage, *, caching: bool = True) -> float:
        """US dollars for what was used.

        Args:
            usage: Tokens, counted with the tokenizer of the model that was measured.
            caching: Whether the tokens that were cached there are cached here too.
        """
        cached = usage.cached_tokens if caching else 0
        return (
            (usage.prompt_tokens - cached) * self.prompt
            + cached * self.cached
            + usage.completion_tokens * self.completion
        )


def price_of(name: str) -> Price:
    """The price of a model.

    Args:
        name: As litellm's table has it, with or without the provider: `gpt-5-mini`.

    Raises:
        DataError: The table has no price for it.
    """
    found = list_prices(name)
    if found is None:
        raise DataError(
            f"litellm's table has no price for {name!r}", hint="name it as there: gpt-5-mini"
        )
    prompt, cached, completion = found
    return Price(name, prompt, prompt if cached is None else cached, completion)


def known_price(given: Price | str | None, model: str) -> Price | None:
    """The price that is meant: as given, of the model of that name, or that of the model.

    Args:
        given: A price, the name of a model, or None.
        model: The model that is asked.

    Raises:
        DataError: The table has no price for the name that was given, or that is no name.
    """
    if isinstance(given, Price):
        return given
    if given is not None:
        if not isinstance(given, str):
            raise DataError(
                f"price={given!r:.80} is no price", hint='name a model: price="gpt-5-mini"'
            )
        return price_of(given)
    if "/" not in model or model.startswith(("local/", "direct/")):
        return None
    try:
        return price_of(model)
    except DataError:
        return None


def check_told(budget: Budget) -> None:
    """Check that it is known what is left of a budget.

    Raises:
        DataError: It bounds dollars, and of calls that it has paid no cost is known.
    """
    if budget.left.dollars < math.inf and budget.spent.cost is None:
        raise DataError(
            "what earlier calls cost is not known, so what is left of the dollars is not",
            hint="say it: price_by of the budget, or give the search one of its own",
        )


def counted_at(budget: Budget, price: Price | str | None, model: str) -> Budget:
    """The budget of a search: by a price it counts calls of its that do not tell their cost.

    What the budget has been told by `price_by` holds against a price that is not given, and for all
    other calls.

    Args:
        budget: What may be spent.
        price: A price, the name of a model, or None: that of the model, if it is known.
        model: The name of the model that is asked.

    Raises:
        DataError: There is no price for that name, or dollars are bounded, and no call of the model
            would tell its cost.
    """
    if price is None and budget.is_priced:
        return budget
    if (known := known_price(price, model)) is not None:
        return budget.at(known.cost)
    if model.startswith("direct/") and budget.left.dollars < math.inf:  # others may tell a cost
        raise DataError(
            f"the price of {model} is not known, so a budget in dollars cannot be kept",
            hint="bound calls, or name a model whose price counts: gpt-5-mini",
        )
    return budget


def counted_price(budget: Budget, price: Price | str | None, model: str) -> Price | None:
    """The price of a token, of which a budget is told for all that is to be paid from it.

    Args:
        budget: What may be spent, and nobody else spends.
        price: As for `counted_at`.
        model: As for `counted_at`.

    Raises:
        DataError: As for `counted_at`.
    """
    counted_at(budget, price, model)
    if (known := known_price(price, model)) is not None:
        budget.price_by(known.cost)
    return known
