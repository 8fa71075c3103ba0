import pytest

from litgo_pipelines.intake import rules


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("Tenho audiência amanhã às 9h", 24),
        ("minha audiencia vai ser amanha cedo", 24),
        ("Meu irmão foi preso em flagrante", 12),
        ("Meu prazo de 5 dias está correndo", 120),
        ("prazo de cinco dias", 120),
        ("prazo de 3 horas e prazo de 5 dias", 3),
        ("prazo de 0 dias", rules.LEAST_H),
        ("prazo de 999 dias", rules.MOST_H),
        ("recebi uma ordem de despejo", 24),
        ("quero uma liminar", 24),
        ("só queria tirar uma dúvida", 168),
        ("não tenho audiência amanhã", None),
        ("nunca foi preso em flagrante", None),
        ("sem habeas corpus meu filho continua preso", 4),
        ("não respeita a medida protetiva", 4),
        ("Quero tirar uma dúvida: meu marido me espanca", 4),
        ("não consigo dormir, audiência amanhã", 24),
        ("até hoje não recebi o acerto", None),
        ("tenho só até hoje pra contestar", 4),
        ("o último dia para recorrer é hoje", 4),
        ("daqui a pouco tem audiência", 4),
        ("audiência hj 14h", 4),
        ("leilão da casa amanhã", 24),
        ("vence em 1 dia", 24),
        ("prazo de 48h", 48),
        ("faltam 2 horas pra audiência", 2),
        ("há dez anos apanho calada", 4),
        ("desde que casei ele me agride", 4),
        ("já cumpriu pena e agora me persegue de novo", 4),
        # words of danger that tell of none, and the like that do
        ("o banco me deu uma facada com esses juros", None),
        ("minha mãe vai me matar de vergonha", None),
        ("quero morrer de velho na minha casa", None),
        ("Vou me matar de trabalhar e não recebo", None),
        ("meu dinheiro continua preso no consórcio", None),
        ("não quero mais viver de aluguel", None),
        ("ele vai me matar de qualquer jeito", 4),
        ("ele me deu uma facada nas costas", 4),
        ("meu irmão, que pegou a moto, continua preso", 4),
        ("não quero mais viver nesse mundo", 4),
        ("quero morrer de tanta tristeza", 4),
        ("", None),
    ],
)
def test_urgency(text: str, hours: int | None) -> None:
    assert rules.urgency_h(text) == hours


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Divórcio consensual", "LOW"),
        ("divórcio amigável com bens no exterior", "HIGH"),
        ("a dívida é de 3 milhões", "HIGH"),
        ("não é consensual", None),
        ("bateram no meu carro", None),
    ],
)
def test_complexity(text: str, level: str | None) -> None:
    assert rules.complexity(text) == level


def test_every_rule_can_apply() -> None:
    for rule in rules.rules():
        assert rule.value in rules.LEVELS if rule.field == "complexity" else int(rule.value) > 0
        assert rule.field in ("danger", "urgency", "complexity")
