"""The budget of a deployment with a public URL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import DesiredState
from facectl.deploy.resources.base import Attached, Context, Key
from facectl.deploy.resources.topics import Topic

# US dollars of the whole account in a month. A tag as filter would need to be activated as a
# cost allocation tag first; until then such a budget counts nothing.
LIMIT = 5.0
_PERCENT = 80.0


@dataclass(frozen=True, slots=True)
class Budget(Attached):
    """A monthly budget of the account, with a mail when `percent` of `limit` (USD) is spent.

    AWS updates the costs some times a day (AWS Cost Management User Guide, "Managing your costs
    with AWS Budgets"), so the mail comes hours later. It belongs to the owner of the topic: its
    name contains the ASU ID.
    """

    kind: ClassVar[str] = "budget"
    # There is no call that changes a budget and the addresses of its notification together.
    fixed: ClassVar[frozenset[str]] = frozenset({"limit", "percent", "email", "scope"})
    outlives_parent: ClassVar[bool] = True
    pruned: ClassVar[bool] = True
    title: str
    topic: str
    email: str
    limit: float = LIMIT
    percent: float = _PERCENT
    scope: str = "all costs, monthly"

    @property
    def name(self) -> str:
        return self.title

    @property
    def parent(self) -> Key:
        return Topic.kind, self.topic

    def read(self, context: Context) -> Budget | None:
        budgets = context.clients.budgets
        where = self._where(context)
        answer = unless_missing(budgets.describe_budget, **where)
        if answer is None:
            return None
        budget = answer["Budget"]
        found = unless_missing(budgets.describe_notifications_for_budget, **where)
        notifications = found.get("Notifications", ()) if found else ()
        ours = next((n for n in notifications if _is_ours(n)), None)
        email, percent = "", 0.0
        if ours is not None:
            percent = ours["Threshold"]
            described = {name: ours[name] for name in _notification(percent) if name in ours}
            subscribers = budgets.describe_subscribers_for_notification(
                **where, Notification=described
            ).get("Subscribers", ())
            email = ", ".join(each["Address"] for each in subscribers)
        amount = budget.get("BudgetLimit", {})
        limit = float(amount.get("Amount", 0)) if amount.get("Unit") == "USD" else 0.0
        return Budget(self.title, self.topic, email, limit, percent, _scope(budget))

    def create(self, context: Context) -> None:
        context.call(
            context.clients.budgets.create_budget,
            AccountId=context.account.number,
            **self.arguments(),
        )

    def arguments(self) -> Any:
        """The arguments of AWS Budgets' API, apart from the account."""
        subscriber = {"SubscriptionType": "EMAIL", "Address": self.email}
        return {
            "Budget": {
                "BudgetName": self.name,
                "BudgetLimit": {"Amount": f"{self.limit:g}", "Unit": "USD"},
                "TimeUnit": "MONTHLY",
                "BudgetType": "COST",
            },
            "NotificationsWithSubscribers": [
                {"Notification": _notification(self.percent), "Subscribers": [subscriber]}
            ],
        }

    def update(self, context: Context, actual: Budget) -> None:
        actual.delete(context)
        self.create(context)

    def delete(self, context: Context) -> None:
        delete = context.clients.budgets.delete_budget
        context.call(unless_missing, delete, **self._where(context))

    def _where(self, context: Context) -> dict[str, str]:
        return {"AccountId": context.account.number, "BudgetName": self.name}


def desired(state: DesiredState) -> Iterator[Budget]:
    """One budget, if there are alarms and anyone can call the URL."""
    if state.alarms_email and state.url_auth == "none":
        names = state.names
        title = names.of_region(state.account.region)
        yield Budget(title, names.alarm_topic, state.alarms_email)


def _notification(percent: float) -> dict[str, Any]:
    return {
        "NotificationType": "ACTUAL",
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": percent,
        "ThresholdType": "PERCENTAGE",
    }


def _is_ours(notification: dict[str, Any]) -> bool:
    wanted = _notification(notification["Threshold"])
    # Percent is the default type.
    return all(notification.get(name, "PERCENTAGE") == wanted[name] for name in wanted)


def _scope(budget: dict[str, Any]) -> str:
    """What the budget counts, as text."""
    what = "all costs" if budget.get("BudgetType") == "COST" else str(budget.get("BudgetType"))
    if budget.get("CostFilters") or budget.get("FilterExpression"):
        what = "filtered costs"
    return f"{what}, {str(budget.get('TimeUnit', '')).lower()}"
