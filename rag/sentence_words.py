"""The word lists of the sentence splitter: abbreviations, words that open sentences, what follows German ordinals."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


INNER = _words("""
    mr mrs ms dr prof st mt ft rev hon gov sen lt sgt capt cmdr adm maj fr msgr pres supt
    e.g i.e eg ie vs v cf viz approx ca c. fig figs eq eqs vol vols pp ed eds nos op
    sr sra srta dra d dña lic ing ud uds p.ej p. ej pág págs núm núms tel aprox avda av excmo ilmo vid
    z.b d.h u.a o.ä i.d.r bzw ggf evtl vgl sog inkl exkl zzgl nr str abb abs bd hr hrn fam dipl st
    mme mlle m.me éd sig sigg dott ecc.
    """)
"""Abbreviations that never end a sentence, without their last stop."""

TRAILING = _words("""
    etc inc ltd co corp bros jr al u.s u.s.a u.k u.n e.u d.c a.m p.m b.c a.d b.c.e c.e ph.d m.d b.a m.a no p
    a.c d.c ee.uu uu ee s.a s.l cía usw u.s.w jh jhs mio mrd std min max sek dept univ assn est ave blvd rd sq
    art arts para ref refs sec ch rep gen col geb gest
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun ene abr ago dic i.e.s n.y l.a
    """)
"""Abbreviations that may end a sentence: the next word decides."""

OPENERS = _words("""
    the a an in on at it its he she they we i you this that these those there here his her their our my your however but
    and or as for from after before when while if although though because since by with within without during under over
    to of some many most more several other others another both each every all one two three such so then thus
    therefore hence moreover furthermore additionally also according despite between among through throughout until
    following once what who where why how which not no only even still today now yet is are was were did do does
    el la los las lo un una unos unas en de del al se su sus es por para con como cuando aunque si sin sobre tras
    desde hasta entre según esto este esta estos estas ese esa eso aquel él ella ellos ellas y pero no también además
    durante mientras después antes ya más otro otra otros otras hay fue son era todo todos todas cada
    der die das den dem des ein eine einer einem einen eines es er sie wir ich im am auf bei mit nach wenn und
    aber oder auch als wie da dann dort hier seit von vom zu zum zur für durch gegen ohne um unter über vor
    zwischen während weil obwohl dieser diese dieses diesen diesem man nicht sein seine ihr ihre so doch nur noch
    le les une il elle ils elles dans pour par sur avec ce cet cette ces mais et ou où quand selon après avant
    gli uno nel nella per con che questo questa ma dopo prima anche o os as um uma no na em ele ela
    """)
"""Words that open sentences and hardly follow an abbreviation inside one, lower case."""

MONTHS = _words("""
    januar jänner februar märz april mai juni juli august september oktober november dezember jahrhundert jahrhunderts
    jahrhunderte jh jhd jahrtausend weltkrieg weltkriegs auflage platz rang stock klasse kapitel mal tag woche
    monat jahr lebensjahr geburtstag spieltag runde
    """)
"""Words that a German ordinal ("3. Mai", "19. Jahrhundert") stands before, lower case."""
