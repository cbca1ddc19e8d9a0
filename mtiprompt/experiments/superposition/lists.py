"""What the tasks about words and countries are asked of.

Both lists were written for this experiment: common English nouns of one token or a few, and member
states of the United Nations whose capital is undisputed, whose name is not that of the capital, and
that lie on one continent.
"""

from __future__ import annotations

_NOUNS = """
    acorn actor album anchor animal ankle apple apron arrow artist autumn badge bakery ball banana
    barn basket beach beard bench bicycle bird blanket board boat bottle branch bread brick bridge
    brother brush bucket butter button cabin cable camel camera candle canoe captain carpet carrot
    castle cattle ceiling chair cheese cherry chimney church circle cliff cloud coast coffee copper
    corner cotton county cousin crown curtain daisy dance desert diamond dinner doctor dragon drawer
    dress eagle engine evening fabric family farmer feather fence field finger flame flower forest
    fountain garage garden garlic ghost giant glove grape guitar hammer harbor helmet honey horse
    hotel island jacket jewel journey jungle kettle king kitchen ladder lake lantern lemon letter
    lion lizard magnet market meadow melon metal mirror monkey morning mountain mouse museum napkin
    needle nephew nurse ocean office orange orchard oven owner oyster palace paper parrot pasture
    peach pencil pepper piano picture pigeon pillow pilot planet pocket poem potato powder prince
    puppet puzzle queen rabbit radio railway ribbon rifle ring river robot rocket saddle sailor
    salad school shadow sheep shirt shovel silver singer sister soldier spider spoon square stable
    statue storm street sugar summer sweater table tailor temple theater thunder ticket tiger timber
    tomato tower tractor trumpet tunnel turkey uncle valley velvet village violin wagon wallet water
    weather whistle window winter wizard yard zebra
"""
WORDS = tuple(_NOUNS.split())

_COUNTRIES = {
    "Africa": """
        Algeria:Algiers Angola:Luanda Botswana:Gaborone Cameroon:Yaoundé Chad:N'Djamena
        Ethiopia:Addis_Ababa Gabon:Libreville Ghana:Accra Guinea:Conakry Kenya:Nairobi
        Liberia:Monrovia Libya:Tripoli Madagascar:Antananarivo Malawi:Lilongwe Mali:Bamako
        Mauritania:Nouakchott Morocco:Rabat Mozambique:Maputo Namibia:Windhoek Niger:Niamey
        Nigeria:Abuja Rwanda:Kigali Senegal:Dakar Sierra_Leone:Freetown Somalia:Mogadishu
        Sudan:Khartoum Togo:Lomé Tunisia:Tunis Uganda:Kampala Zambia:Lusaka Zimbabwe:Harare
    """,
    "Asia": """
        Afghanistan:Kabul Bahrain:Manama Bangladesh:Dhaka Bhutan:Thimphu Cambodia:Phnom_Penh
        China:Beijing India:New_Delhi Iran:Tehran Iraq:Baghdad Japan:Tokyo Jordan:Amman
        Kyrgyzstan:Bishkek Laos:Vientiane Lebanon:Beirut Malaysia:Kuala_Lumpur Maldives:Malé
        Mongolia:Ulaanbaatar Nepal:Kathmandu North_Korea:Pyongyang Oman:Muscat Pakistan:Islamabad
        Philippines:Manila Qatar:Doha Saudi_Arabia:Riyadh South_Korea:Seoul Syria:Damascus
        Tajikistan:Dushanbe Thailand:Bangkok Turkmenistan:Ashgabat Uzbekistan:Tashkent
        Vietnam:Hanoi
    """,
    "Europe": """
        Albania:Tirana Austria:Vienna Belarus:Minsk Belgium:Brussels Bulgaria:Sofia Croatia:Zagreb
        Denmark:Copenhagen Estonia:Tallinn Finland:Helsinki France:Paris Germany:Berlin
        Greece:Athens Hungary:Budapest Iceland:Reykjavik Ireland:Dublin Italy:Rome Latvia:Riga
        Lithuania:Vilnius Malta:Valletta Moldova:Chisinau Norway:Oslo Poland:Warsaw Portugal:Lisbon
        Romania:Bucharest Serbia:Belgrade Slovakia:Bratislava Slovenia:Ljubljana Spain:Madrid
        Sweden:Stockholm Switzerland:Bern Ukraine:Kyiv
    """,
    "North America": """
        Bahamas:Nassau Barbados:Bridgetown Belize:Belmopan Canada:Ottawa Costa_Rica:San_José
        Cuba:Havana Dominica:Roseau Grenada:Saint_George's Haiti:Port-au-Prince
        Honduras:Tegucigalpa Jamaica:Kingston Nicaragua:Managua
    """,
    "South America": """
        Argentina:Buenos_Aires Brazil:Brasília Chile:Santiago Colombia:Bogotá Ecuador:Quito
        Guyana:Georgetown Paraguay:Asunción Peru:Lima Suriname:Paramaribo Uruguay:Montevideo
        Venezuela:Caracas
    """,
    "Oceania": """
        Australia:Canberra Fiji:Suva New_Zealand:Wellington Samoa:Apia Tonga:Nuku'alofa
        Vanuatu:Port_Vila
    """,
}

COUNTRIES = tuple(
    (country, capital, continent)
    for continent, pairs in _COUNTRIES.items()
    for country, capital in (pair.replace("_", " ").split(":") for pair in pairs.split())
)
"""Country, capital, continent."""
