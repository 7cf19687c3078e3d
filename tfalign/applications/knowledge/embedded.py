"""A graph that needs no data: countries, their capitals, continents, languages and neighbours, in English and Chinese."""

from __future__ import annotations

from tfalign.applications.knowledge.graph import KnowledgeGraph

# country, its capital, continent, language; English/Chinese
_COUNTRIES = """
France/法国 Paris/巴黎 Europe/欧洲 French/法语
Germany/德国 Berlin/柏林 Europe/欧洲 German/德语
Austria/奥地利 Vienna/维也纳 Europe/欧洲 German/德语
Spain/西班牙 Madrid/马德里 Europe/欧洲 Spanish/西班牙语
Portugal/葡萄牙 Lisbon/里斯本 Europe/欧洲 Portuguese/葡萄牙语
Italy/意大利 Rome/罗马 Europe/欧洲 Italian/意大利语
Belgium/比利时 Brussels/布鲁塞尔 Europe/欧洲 French/法语
Ireland/爱尔兰 Dublin/都柏林 Europe/欧洲 English/英语
Poland/波兰 Warsaw/华沙 Europe/欧洲 Polish/波兰语
Hungary/匈牙利 Budapest/布达佩斯 Europe/欧洲 Hungarian/匈牙利语
China/中国 Beijing/北京 Asia/亚洲 Chinese/汉语
Vietnam/越南 Hanoi/河内 Asia/亚洲 Vietnamese/越南语
Laos/老挝 Vientiane/万象 Asia/亚洲 Lao/老挝语
Thailand/泰国 Bangkok/曼谷 Asia/亚洲 Thai/泰语
Nepal/尼泊尔 Kathmandu/加德满都 Asia/亚洲 Nepali/尼泊尔语
India/印度 New_Delhi/新德里 Asia/亚洲 Hindi/印地语
Pakistan/巴基斯坦 Islamabad/伊斯兰堡 Asia/亚洲 Urdu/乌尔都语
Mongolia/蒙古国 Ulaanbaatar/乌兰巴托 Asia/亚洲 Mongolian/蒙古语
Singapore/新加坡 Singapore_City/新加坡市 Asia/亚洲 Chinese/汉语
Egypt/埃及 Cairo/开罗 Africa/非洲 Arabic/阿拉伯语
Sudan/苏丹 Khartoum/喀土穆 Africa/非洲 Arabic/阿拉伯语
Libya/利比亚 Tripoli/的黎波里 Africa/非洲 Arabic/阿拉伯语
Tunisia/突尼斯 Tunis/突尼斯市 Africa/非洲 Arabic/阿拉伯语
Algeria/阿尔及利亚 Algiers/阿尔及尔 Africa/非洲 Arabic/阿拉伯语
Mali/马里 Bamako/巴马科 Africa/非洲 Bambara/班巴拉语
Senegal/塞内加尔 Dakar/达喀尔 Africa/非洲 French/法语
Kenya/肯尼亚 Nairobi/内罗毕 Africa/非洲 Swahili/斯瓦希里语
Tanzania/坦桑尼亚 Dodoma/多多马 Africa/非洲 Swahili/斯瓦希里语
Angola/安哥拉 Luanda/罗安达 Africa/非洲 Portuguese/葡萄牙语
Brazil/巴西 Brasilia/巴西利亚 America/美洲 Portuguese/葡萄牙语
Argentina/阿根廷 Buenos_Aires/布宜诺斯艾利斯 America/美洲 Spanish/西班牙语
Chile/智利 Santiago/圣地亚哥 America/美洲 Spanish/西班牙语
Peru/秘鲁 Lima/利马 America/美洲 Spanish/西班牙语
Colombia/哥伦比亚 Bogota/波哥大 America/美洲 Spanish/西班牙语
Mexico/墨西哥 Mexico_City/墨西哥城 America/美洲 Spanish/西班牙语
Guatemala/危地马拉 Guatemala_City/危地马拉城 America/美洲 Spanish/西班牙语
United_States/美国 Washington/华盛顿 America/美洲 English/英语
Canada/加拿大 Ottawa/渥太华 America/美洲 English/英语
"""
_NEIGHBOURS = """
France-Germany France-Spain France-Italy France-Belgium Germany-Austria Germany-Belgium Germany-Poland Austria-Italy
Austria-Hungary Spain-Portugal China-Vietnam China-Laos China-Nepal China-India China-Pakistan China-Mongolia
Vietnam-Laos Laos-Thailand Nepal-India India-Pakistan Egypt-Sudan Egypt-Libya Sudan-Libya Libya-Tunisia Libya-Algeria
Tunisia-Algeria Algeria-Mali Mali-Senegal Kenya-Tanzania Brazil-Argentina Brazil-Peru Brazil-Colombia Argentina-Chile
Chile-Peru Peru-Colombia Mexico-Guatemala Mexico-United_States United_States-Canada
"""
_RELATIONS = {
    "capital": "首都",
    "continent": "所在洲",
    "language": "语言",
    "neighbour": "邻国",
    "city_continent": "城市所在洲",
}
LANGUAGES = ("en", "zh")


def embedded_graph(language: str = "en") -> KnowledgeGraph:
    """Countries and what is known of them. On which continent a capital lies is to be inferred, of a fifth of the
    capitals: it is that of its country.

    Args:
        language: "en" or "zh".

    Raises:
        ValueError: if it is another one.

    >>> graph = embedded_graph("zh")
    >>> len(graph.entities), graph.relations
    (99, ('城市所在洲', '所在洲', '语言', '邻国', '首都'))
    """
    if language not in LANGUAGES:
        raise ValueError(f'Languages are "en" and "zh". Received: language={language!r}')
    side = LANGUAGES.index(language)
    rows = [
        [cell.split("/")[side] for cell in line.split()] for line in _COUNTRIES.split("\n") if line
    ]
    english = [line.split("/")[0] for line in _COUNTRIES.split("\n") if line]
    name = dict(zip(english, (row[0] for row in rows)))
    said = _RELATIONS if language == "zh" else {relation: relation for relation in _RELATIONS}
    train, lies_on = [], []
    for country, capital, continent, tongue in rows:
        train += [(country, said["capital"], capital), (country, said["continent"], continent)]
        train.append((country, said["language"], tongue))
        lies_on.append((capital, said["city_continent"], continent))
    for pair in _NEIGHBOURS.split():
        one, other = (name[country] for country in pair.split("-"))
        train += [(one, said["neighbour"], other), (other, said["neighbour"], one)]
    kept = [triple for i, triple in enumerate(lies_on) if i % 5 not in (2, 4)]
    return KnowledgeGraph.of(train + kept, lies_on[4::5], lies_on[2::5])
