"""Vocabulary of the simulated marketplace, as data: areas of law, names and text templates.

Pure. Every name is a random combination and every e-mail ends in example.com: no row describes a real person.
"""

# area → (share of the cases, subareas)
AREAS: dict[str, tuple[float, tuple[str, ...]]] = {
    "Trabalhista": (0.18, ("Rescisão", "Horas extras", "Assédio moral", "Acidente de trabalho")),
    "Consumidor": (0.17, ("Cobrança indevida", "Produto com defeito", "Negativação indevida", "Plano de saúde")),
    "Família": (0.15, ("Divórcio", "Pensão alimentícia", "Guarda", "Inventário")),
    "Civil": (0.13, ("Danos morais", "Contratos", "Acidente de trânsito", "Cobrança")),
    "Previdenciário": (0.10, ("Aposentadoria", "Auxílio-doença", "BPC/LOAS", "Pensão por morte")),
    "Criminal": (0.09, ("Defesa criminal", "Violência doméstica", "Crimes contra a honra", "Execução penal")),
    "Tributário": (0.05, ("Execução fiscal", "Restituição", "Planejamento tributário")),
    "Empresarial": (0.05, ("Societário", "Recuperação judicial", "Contratos empresariais")),
    "Imobiliário": (0.05, ("Locação", "Usucapião", "Compra e venda", "Condomínio")),
    "Digital": (0.03, ("Proteção de dados", "Golpe on-line", "Remoção de conteúdo")),
}

FIRST_NAMES = (
    "Adriana", "Alexandre", "Aline", "Ana", "André", "Antônio", "Beatriz", "Bruno", "Camila", "Carla", "Carlos",
    "Caio", "Cecília", "Cláudia", "Cristina", "Daniel", "Débora", "Diego", "Eduardo", "Elaine", "Fábio", "Felipe",
    "Fernanda", "Flávia", "Francisco", "Gabriel", "Gabriela", "Gustavo", "Helena", "Henrique", "Igor", "Isabela",
    "João", "José", "Juliana", "Júlia", "Larissa", "Leandro", "Letícia", "Luís", "Luciana", "Marcelo", "Márcia",
    "Marcos", "Maria", "Mariana", "Mateus", "Maurício", "Natália", "Otávio", "Patrícia", "Paula", "Pedro", "Rafael",
    "Raquel", "Renata", "Ricardo", "Rodrigo", "Sandra", "Sérgio", "Simone", "Sônia", "Tatiana", "Thiago", "Vanessa",
    "Vinícius", "Vitória", "Wagner",
)  # fmt: skip
SURNAMES = (
    "Almeida", "Alves", "Andrade", "Araújo", "Barbosa", "Barros", "Batista", "Borges", "Campos", "Cardoso",
    "Carvalho", "Castro", "Cavalcanti", "Correia", "Costa", "Cunha", "Dias", "Duarte", "Farias", "Fernandes",
    "Ferreira", "Fonseca", "Freitas", "Garcia", "Gomes", "Gonçalves", "Guimarães", "Lima", "Lopes", "Macedo",
    "Machado", "Magalhães", "Marques", "Martins", "Melo", "Mendes", "Miranda", "Monteiro", "Moraes", "Moreira",
    "Moura", "Nascimento", "Neves", "Nogueira", "Nunes", "Oliveira", "Pereira", "Pinto", "Ramos", "Reis", "Ribeiro",
    "Rocha", "Rodrigues", "Sales", "Santana", "Santos", "Silva", "Siqueira", "Soares", "Souza", "Tavares",
    "Teixeira", "Torres", "Vieira", "Xavier",
)  # fmt: skip

# {subarea} in lower case, {capital} as written.
DESCRIPTIONS = (
    "Preciso de orientação sobre {subarea} em {capital}. Tenho os documentos e gostaria de saber meus direitos.",
    "Meu caso envolve {subarea}. Já tentei resolver por conta própria em {capital}, sem sucesso, e busco um advogado.",
    "Recebi uma notificação relacionada a {subarea} e não sei como responder. Moro na região de {capital}.",
    "Procuro um profissional com experiência em {subarea}; há prazo correndo e já existe processo em {capital}.",
)
COMMENTS: dict[int, tuple[str, ...]] = {
    1: (
        "Péssimo atendimento, não respondeu às minhas mensagens.",
        "Não recomendo: perdeu o prazo e não explicou nada.",
        "Muito insatisfeita, faltou atenção ao meu caso.",
    ),
    2: (
        "Demorou demais para responder e foi pouco claro.",
        "Não fiquei satisfeito com o acompanhamento.",
        "Esperava mais dedicação.",
    ),
    3: (
        "Atendimento razoável, poderia ser mais ágil.",
        "Não foi ruim, mas a comunicação deixou a desejar.",
        "Resolveu em parte.",
    ),
    4: (
        "Bom profissional, explicou bem cada etapa.",
        "Gostei do atendimento, atencioso e claro.",
        "Boa comunicação e cumpriu os prazos.",
    ),
    5: (
        "Excelente! Muito atenciosa e competente, recomendo.",
        "Ótimo advogado, resolveu tudo com rapidez e transparência.",
        "Não tenho nada a reclamar: atendimento impecável.",
    ),
}
FEE_MODELS = (
    '{"type": "success", "percent": 20}',
    '{"type": "success", "percent": 30}',
    '{"type": "fixed", "value": 2500}',
    '{"type": "fixed", "value": 5000}',
    '{"type": "hourly", "rate": 350}',
)
FIRM_SIZES = (None, "pequeno", "medio", "grande")
DEGREES = (None, "lato sensu", "mestrado", "doutorado")
