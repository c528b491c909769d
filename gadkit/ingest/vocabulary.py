"""The words in the names of columns, in eight languages, and which of them together say a role.

A name is split at whatever is no letter and where a capital follows a small letter; what is written
together, as `visitorid` or `Kundennummer`, is taken apart where all of it is words that are known.
Words of other languages, and synonyms, become one English word each.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

# A word, and what else is written for it: English, German, French, Spanish, Portuguese, Italian,
# Polish and Dutch, without accents.
_SYNONYMS = {
    "person": (
        "user users customer customers cust client clients buyer buyers member reviewer "
        "author visitor shopper consumer subscriber purchaser borrower kunde kunden kaufer "
        "kaeufer besteller nutzer benutzer mitglied acheteur utilisateur cliente clientes "
        "comprador usuario utilizador klient klienta kupujacy kupujacego uzytkownik "
        "uzytkownika acquirente compratore utente klant klanten koper gebruiker bidder bieter "
        "patient policyholder pembeli pelanggan"
    ),
    "product": (
        "product products prod produkt produkte produktu produit produits producto productos "
        "produto produtos prodotto prodotti artikel article articles articulo artigo articolo "
        "item items lineitem listing sku asin isbn ean gtin upc movie film book game app song "
        "track hotel restaurant gmap terminal anuncio publicacion oferta oferty aukcji "
        "variant auction auktion auktions produk barang lot"
    ),
    "seller": (
        "seller vendor shop store merchant retailer supplier dealer verkaufer verkaeufer "
        "handler haendler vendeur marchand vendedor tienda loja venditore negozio sprzedawca "
        "sprzedawcy sklep verkoper winkel lieferant fournisseur proveedor fornecedor "
        "fornitore provider penjual toko"
    ),
    "id": (
        "id ids n steamid identifier number num nr no numero numer nummer code codice codigo "
        "kod key uid uuid guid ref reference referenz referencia riferimento unique unico "
        "hash token index"
    ),
    "name": "name names nom nome nombre nazwa naam nama",
    "title": "title titulo titre titel bezeichnung designation",
    "login": "username login nick nickname handle benutzername",
    "email": "email mail emails courriel correo",
    "date": (
        "date datetime timestamp datum data fecha zeitpunkt ts dt moment when zeitstempel "
        "tanggal waktu"
    ),
    "clock": "time zeit uhrzeit hora heure godzina ora tijd",
    "at": "at on",
    "zone": "timezone tz zeitzone",
    "event": (
        "order orders purchase sale sales transaction transactions trans tran txn tx invoice "
        "event review reviews click booking bestell bestellung kauf verkaufs rechnungs achat "
        "commande vente pedido compra venda venta zakupu zamowienia sprzedazy ordine acquisto "
        "vendita bestel bestelling pedidos rezension rezensions avis resena recenzja "
        "recensione pesanan pembelian transaksi rechnung facture factura fatura fattura claim "
        "claims"
    ),
    "made": (
        "created creation create ordered placed purchased sold posted occurred clicked played "
        "watched listened rated bought viewed dibuat erstellt"
    ),
    "payment": "payment payments zahlung paiement pago pagamento platnosci betaling",
    "amount": (
        "amount amt total totals paid gross revenue value sum subtotal betrag gesamtbetrag "
        "summe umsatz gesamt montant importe monto valor kwota wartosc importo totale bedrag "
        "totaal spend net"
    ),
    "price": "price preis prix precio preco cena prezzo prijs harga",
    "unit": (
        "unit einzel unitaire unitario jednostkowa stuk grand line deal base authorized "
        "settled netto brutto ht ttc"
    ),
    "rating": (
        "rating ratings stars star overall bewertung bewertungs sterne ocena avaliacao "
        "calificacion valutazione beoordeling"
    ),
    "score": "score note voto nota",
    "fraud": (
        "fraud fraudulent fraudster laundering spam fake scam illicit chargeback deceptive "
        "suspicious anomaly anomalous betrug betrugerisch fraude fraudulento fraudulenta "
        "frauduleux oszustwo frode penipuan"
    ),
    "flagged": "flagged",
    "class": "class",
    "flag": "flag bool boolean ind indicator label is target yn",
    "text": (
        "text body content comment comments message kommentar commentaire comentario "
        "comentarios commento komentarz opmerking inhalt testo texto"
    ),
    "votes": "vote votes useful helpful thumbs likes upvotes hilfreich",
    "count": (
        "count counts qty quantity menge anzahl quantite cantidad quantidade quantita ilosc "
        "aantal"
    ),
    "up": "up",
    "description": (
        "description beschreibung descripcion descricao descrizione opis memo narrative"
    ),
    "category": "category kategorie categorie categoria kategoria mcc",
    "device": (
        "device dev gerat geraet gerate geraete appareil dispositivo urzadzenie urzadzenia "
        "apparaat imei"
    ),
    "fingerprint": "fingerprint fp fingerabdruck empreinte huella",
    "browser": "browser",
    "cookie": "cookie",
    "instrument": "instrument",
    "card": (
        "card cards cc karte kreditkarte carte tarjeta cartao karta karty carta kaart pan "
        "creditcard"
    ),
    "holder": "cardholder holder inhaber",
    "iban": "iban",
    "account": "account acct konto compte cuenta conta conto rekening rachunek",
    "bank": "bank banque banco banca",
    "wallet": "wallet",
    "phone": (
        "phone mobile tel telephone telefon telefonu telefono telefone telefoon handy "
        "cellphone movil cellulare telepon"
    ),
    "ip": "ip",
    "address": (
        "address addr adresse adres adresu direccion endereco indirizzo anschrift domicilio "
        "street strasse rue calle rua ulica alamat"
    ),
    "passport": "passport",
    "taxid": "ssn dni cpf nif pesel vat cnpj nie curp rfc codicefiscale",
    "of": (
        "o de del da do di du des der die das la le les el i e of the per for van het a an "
        "induk"
    ),
    "billing": (
        "billing bill rechnungsadresse facturation facturacion cobranca fakturacja from"
    ),
    "shipping": (
        "shipping ship liefer lieferung livraison envio entrega dostawy wysylki spedizione "
        "bezorg delivery"
    ),
    "city": "city town stadt ville ciudad cidade citta miasto stad location",
    "country": "country land pays pais paese kraj",
    "zip": "zip zipcode postcode postal plz",
    "type": "type kind typ tipo",
    "money": (
        "usd eur gbp jpy brl ars mxn pln chf cad aud inr cny sek nok dkk czk try clp cop "
        "cents local"
    ),
    "stock": "stock",
}  # fmt: skip
_ONE = {form: word for word, forms in _SYNONYMS.items() for form in [word, *forms.split()]}
_SHORTEST = 3  # letters of a word that may be a part of another one, but for a few
_SHORT_PARTS = {"id", "no", "nr", "ip", "cc", "tx", "at", "ts", "dt"}
_LETTERS = str.maketrans({"ł": "l", "Ł": "L", "ß": "ss", "ø": "o", "Ø": "O"})
_ZONES = {
    "utc", "gmt", "est", "edt", "cst", "cdt", "mst", "mdt", "pst", "pdt", "cet", "cest", "mez",
    "mesz", "eet", "bst", "ist", "jst", "kst", "sgt", "hkt", "aest", "aedt", "msk", "brt", "pt",
    "et",
}  # fmt: skip
UTC = {"utc", "gmt"}


@functools.lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """Return the words of a name, in their order, synonyms as one; digits are left out."""
    bare = unicodedata.normalize("NFKD", name.replace("E-Mail", "Email").replace("e-mail", "email"))
    bare = "".join(letter for letter in bare if not unicodedata.combining(letter))
    bare = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", bare.translate(_LETTERS))
    result = []
    for token in re.findall("[a-z]+", re.sub(r"\btime.?zone", "timezone", bare.lower())):
        result += _parts(token)
    return tuple(result)


def _parts(token: str) -> list[str]:
    """Take a word apart where it is several that are known, as few as can be."""
    if token in _ONE:
        return [_ONE[token]]
    best: list[list[str] | None] = [[]] + [None] * len(token)
    for end in range(1, len(token) + 1):
        for start in range(end):
            part, before = token[start:end], best[start]
            if before is None or part not in _ONE:
                continue
            if len(part) < _SHORTEST and part not in _SHORT_PARTS:
                continue
            if best[end] is None or len(before) + 1 < len(best[end]):
                best[end] = [*before, _ONE[part]]
    return best[-1] or [token]


class _Form(NamedTuple):
    """What a column of a role is called: all of some words, and of others any."""

    needed: frozenset[str]
    others: frozenset[str]


def _forms(others: str, *needed: str) -> list[_Form]:
    """Make a form of each of some lists of words."""
    return [_Form(frozenset(text.split()), frozenset(others.split())) for text in needed]


_WHEN = _forms(
    "event made at date clock of payment amount unix " + " ".join(sorted(_ZONES)),
    "event date", "made date", "event clock", "made clock", "made at", "made", "date", "at",
    "payment date", "amount date", "amount at", "clock",
)  # fmt: skip
STRONG = "strong"  # ids: also in tables of labels and products
USUAL = "usual"
LAST = "last"  # where nothing else is there
_FORMS = {
    "user": {
        STRONG: _forms("id of shop", "person id") + _forms("of", "person"),
        USUAL: _forms("person id of name", "person login", "login") + _forms("of id", "account id")
        + _forms("person of billing address id", "person email", "email"),
        LAST: _forms("of billing", "person name")
        + _forms("id fingerprint of person number", "card id", "card fingerprint", "card")
        + _forms("of billing shipping id person", "phone", "name")
        + _forms("of id", "device id", "ip", "ip address"),
    },
    "product": {
        STRONG: _forms("id of seller lazada parent", "product id")
        + _forms("of lazada seller", "product") + _forms("of", "stock id"),
        USUAL: _forms("of", "product name", "product title"),
        LAST: _forms("id of name account metadata", "seller")
        + _forms("of product", "description", "title")
        + _forms("of product seller name event", "category")
        + _forms("id of fingerprint", "device id", "device fingerprint", "card fingerprint",
                 "ip address", "ip", "device"),
    },
    "seller": {STRONG: _forms("id of person", "seller id") + _forms("of name", "seller"),
               USUAL: _forms("id account of", "seller account"), LAST: []},
    "time": {STRONG: [], USUAL: _WHEN, LAST: []},
    "rating": {STRONG: [], USUAL: _forms("event of product", "rating", "event score"),
               LAST: _forms("of", "score")},
    "votes": {STRONG: [], USUAL: _forms("count up of event id", "votes"), LAST: []},
    "amount": {
        STRONG: [], LAST: [],
        USUAL: _forms("money of", "amount")
        + _forms("amount event money payment of unit product person", "event amount",
                 "payment amount", "unit amount", "product amount", "amount")
        + _forms("price amount event money of unit product", "price"),
    },
    "text": {STRONG: [], USUAL: _forms("of", "event text", "rating text"),
             LAST: _forms("", "text")},
    "label": {STRONG: [], USUAL: _forms("flag class event of", "fraud"),
              LAST: _forms("flag", "flagged", "class")},
}  # fmt: skip
RANKS = (STRONG, USUAL, LAST)


def named_like(role: str, columns: Iterable[str], rank: str) -> list[str]:
    """Return the columns whose words say a role, best first.

    Args:
        role: one of `columns.ROLES`.
        columns: their names.
        rank: how sure; one of `RANKS`.
    """
    said = {name: words(name) for name in columns}
    result = []
    for form in _FORMS.get(role, {}).get(rank, ()):
        fitting = [
            (len(has), place, name)
            for place, (name, has) in enumerate(said.items())
            if form.needed <= set(has) <= form.needed | form.others and name not in result
        ]
        result += [name for _, _, name in sorted(fitting)]
    return result


def zone_in(name: str) -> str:
    """Return the zone of time that a name states, such as UTC in `Created (UTC)`; "" if none."""
    tokens = re.findall("[A-Za-z]+", name)
    return next((token.upper() for token in tokens if token.lower() in _ZONES and token.isupper()),
                "")  # fmt: skip


def zones(columns: Iterable[str]) -> list[str]:
    """Return the columns that say in which zone times are, by their names."""
    return [name for name in columns if "zone" in words(name) and set(words(name))
            <= {"zone", "event", "made", "payment", "date", "clock", "of"}]  # fmt: skip
