"""Instants, durations and money as Brazil writes them. Pure."""

from datetime import datetime, timedelta

from litgo_pipelines.notifications.zones import BRASILIA, Zone


def instant(at: datetime, zone: Zone = BRASILIA) -> str:
    """dd/mm/yyyy HH:MM by the reader's clock. Raises ValueError without a zone."""
    if at.tzinfo is None:
        raise ValueError("an instant without a zone")
    return f"{at.astimezone(zone.zone):%d/%m/%Y %H:%M}"


def moment(at: datetime, zone: Zone = BRASILIA) -> str:
    """The same with the zone's name: what is read elsewhere says whose clock it means. Raises as `instant`."""
    return f"{instant(at, zone)} ({zone.named})"


def until(at: datetime, zone: Zone = BRASILIA) -> str:
    """A deadline: a moment, or at midnight the end of the day before. Raises as `instant`."""
    if instant(at, zone).endswith("00:00"):
        return f"o fim do dia {day(at - timedelta(minutes=1), zone)} ({zone.named})"
    return moment(at, zone)


def day(at: datetime, zone: Zone = BRASILIA) -> str:
    """dd/mm/yyyy. Raises as `instant`."""
    return instant(at, zone).split()[0]


def hours(value: float) -> str:
    """8 horas, 3 dias."""
    if value >= 48 and value % 24 == 0:
        return f"{value / 24:g} dias"
    return f"{value:g} hora{'' if value == 1 else 's'}".replace(".", ",")


def money(value: float) -> str:
    """Reais as Brazil writes them: R$ 1.234,50."""
    return "R$ " + f"{value:,.2f}".translate(str.maketrans(",.", ".,"))
