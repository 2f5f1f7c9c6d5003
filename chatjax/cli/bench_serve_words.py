"""The words that requests of `chatjax bench serve` are made of.

They are in this file and not in a tokenizer's vocabulary, so that every server
gets the same text; most tokenizers make one token of each.
"""

from __future__ import annotations

_TEXT = """
able about above across after again age air all almost also always among and
animal answer any apple area arm around art ask away baby back bad ball bank
base bear beat because become bed before begin behind believe below best
better between big bird black blue board boat body book both bottom box boy
bread break bring brother brown build burn busy buy call camp car care carry
case cat catch cause center chair chance change child choose church circle
city class clean clear close cloud coat cold color come common cook cool
copper corner cost cotton count country course cover cross crowd cry cup
current cut dance dark daughter day deal deep desert dinner direct doctor dog
door down draw dream dress drink drive drop dry during each early earth east
easy eat edge egg eight either else empty end engine enough equal even evening
every example eye face fact fair fall family farm fast father favor feel field
fight figure fill final find fine finger fire first fish five flat floor
flower fly follow food foot force forest form four free fresh friend from
front fruit full game garden gather girl give glass goal gold good grand grass
gray great green ground group grow guess hair half hand happen happy hard hat
head hear heart heat heavy help here high hill history hold home hope horse
hot hotel hour house how human hundred ice idea inch inside iron island jump
just keep key kind king kitchen knife know lady lake land large last late
laugh law lead learn leave left leg less letter level lie life light like line
lion list listen little live long look lost lot love low machine main make man
many map mark market match matter may mean measure meat meet member metal
middle might mile milk mind minute miss modern moment money month moon more
morning most mother mountain mouth move much music must name nation nature
near neck need never new next night nine noise none north nose note nothing
number object ocean offer office often oil old once only open orange order
other our out outside over own page paint pair paper parent park part party
pass past pay people perhaps person phone picture piece place plain plan plant
play please point poor possible post pound power press price print problem
public pull push put quarter question quick quiet quite race radio rain raise
reach read ready real reason record red remember repeat rest result rice rich
ride right ring rise river road rock roll room root rope rose round row rule
run safe sail salt same sand save say scale school science sea search season
seat second see seed seem sell send sense set seven shape share sharp ship
shoe shop short should show side sign silver simple since sing sister sit six
size skin sky sleep slow small smell smile snow soft soil some son song soon
sound south space speak special speed spell spend spring square stand star
start state stay steel step stick still stone stop store storm story street
strong student study such sugar summer sun supply sure surface sweet swim
table tail take talk tall taste teach team tell ten term test than thank their
then there thick thin thing think third this those thought thousand three
through throw time tiny today together tomorrow tone tool top total touch
toward town track trade train travel tree trip trouble true try turn twelve
twenty two under until upon use usual valley value very view village visit
voice wait walk wall want war warm wash watch water wave way wear weather week
weight well west what wheel when where which while white whole why wide wild
will wind window wing winter wish with woman wonder wood word work world write
wrong yard year yellow yes yesterday yet young
"""
WORDS = tuple(_TEXT.split())
