"""The stop words of each language: left out of BM25 terms, and what language detection counts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "en": _words("""
        a about above after again against all also am an and any are as at be because been before being below
        between both but by can could did do does doing down during each few for from further had has have
        having he her here hers him his how i if in into is it its itself just may me might more most must my no
        nor not of off on once only or other our ours out over own same shall she should so some such than that
        the their theirs them then there these they this those through to too under until up upon very was we
        were what when where which while who whom whose why will with would you your yours s t don doesn didn
        isn aren wasn weren
        """),
        "es": _words("""
        a al algo algunas algunos ante antes aquel aquella aquello aquellos aquellas aunque como con contra cual
        cuales cualquier cuando cuanto cuanta cuantos cuantas cuál cuáles cuándo cuánto cuánta cuántos cuántas
        cómo de del desde donde dónde durante e el él ella ellas ello ellos en entre era eran es esa esas ese
        eso esos esta está estaba estado están estar estas este esto estos fue fueron ha habían había haber han
        hasta hay la las le les lo los más me mi mientras mis mucho muchos muy nada ni no nos nosotros nuestra
        nuestro o os otra otras otro otros para pero poco por porque pues que qué quien quién quienes quiénes se
        según ser si sí sido sin sino sobre son su sus también tan tanto te tiene tienen todo todos toda todas
        tras tu tus u un una unas uno unos usted y ya yo
        """),
        "fr": _words("""
        à a ai au aucun aussi autre autres aux avait avant avec avoir c ce ceci cela celle celles celui ces cet
        cette ceux chaque chez comme comment d dans de depuis des donc dont du elle elles en encore entre est et
        étaient était été être eu eux fait il ils j je jusqu l la laquelle le lequel les leur leurs lors lorsque
        lui m ma mais me même mes moi mon n ne ni nos notre nous on ont ou où par parce pas pendant plus pour
        pourquoi qu quand que quel quelle quelles quels qui quoi s sa sans se selon ses si son sont sous sur t
        ta te tes toi ton tous tout toute toutes très tu un une vers vos votre vous y
        """),
        "de": _words("""
        aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bin bis bist da
        damit dann das dass dein dem den denn der des dessen die dies diese diesem diesen dieser dieses doch
        dort du durch ein eine einem einen einer eines er es etwas euch für gegen hat hatte hatten hier ich ihm
        ihn ihnen ihr ihre ihrem ihren ihrer im in ins ist jede jedem jeden jeder jedes jene kann kein keine
        keinen können man mehr mein mich mir mit muss nach nicht nichts noch nun nur ob oder ohne sehr sein
        seine seinem seinen seiner seit sich sie sind so über um und uns unser unter vom von vor wann war waren
        warum was weil welche welchem welchen welcher welches wenn wer werden wie wieder wird wir wo worden
        wurde wurden zu zum zur zwischen
        """),
        "it": _words("""
        a ad agli ai al alla alle allo anche ancora c che chi ci ciò come con contro così cui d da dagli dai dal
        dalla dalle dallo degli dei del dell della delle dello di dopo dove due e è ed era erano essere fra fu
        gli ha hanno i il in io l la le lei li lo loro lui ma me mentre mi mia mio molto ne negli nei nel nell
        nella nelle nello noi non nostra nostro o ogni per perché però più po poi prima qual quale quali quando
        quanti quanto quella quelle quelli quello questa queste questi questo s se senza si sia solo sono sopra
        stata stato sua sue sugli sui sul sulla sulle suo suoi tra tu tutta tutte tutti tutto un una uno v vi
        """),
        "pt": _words("""
        à ao aos as às até cada com como contra cujo da das de dela dele deles depois desde dessa desse desta
        deste do dos durante e é ela elas ele eles em entre era eram essa essas esse esses esta está estão estas
        este estes eu foi foram há isso isto já lhe mais mas me mesmo meu minha muito na não nas nem no nos nós
        nossa nosso num numa o onde os ou outra outras outro outros para pela pelas pelo pelos por porque qual
        quais quando quanto quantos que quem são se segundo sem ser seu seus sido só sobre sua suas também tem
        têm ter teve tinha todo todos toda todas um uma você vocês
        """),
        "nl": _words("""
        aan al alle als altijd ben bij daar dan dat de deze die dit doch doen door dus een en er ge geen had heb
        hebben heeft hem het hier hij hoe hun ik in is ja je kan kon kunnen maar me meer men met mij mijn naar
        niet niets nog nu of om omdat ons ook op over reeds te tegen toch toen tot u uit uw van veel voor waar
        waarom wanneer want waren was wat we welke werd werden wie wij wordt worden zal ze zei zelf zich zij
        zijn zo zonder zou
        """),
    }
)
"""By ISO 639-1 code; lower case, with accents."""
