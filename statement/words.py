"""What headings, states and kinds mean, in English, French, Portuguese and Swahili, as data.

A word that is in no table is not known: it is asked of a person once, and its lines are unclear until then.
"""

import re
import unicodedata
from functools import lru_cache

CARRIED_OUT, FAILED, PENDING, REVERSED = "carried_out", "failed", "pending", "reversed"
MOVEMENT, FEE, REVERSAL = "movement", "fee", "reversal"

# What a column may mean, and its headings without case, accents, spaces and signs. Those of M-PESA's
# organisation portal, of bulk results, of the Simple M-Pesa gateway, and of common exports.
HEADINGS = {
    "reference": (
        "reference ourreference paymentreference clientreference externalreference merchantreference "
        "originatorconversationid originatorconversation idempotencykey thirdpartyreference "
        "referencia nossareferencia referenciadocliente notrereference referenceclient referencedupaiement "
        "kumbukumbu kumbukumbuyetu"
    ),
    "receipt": (
        "receiptno receipt receiptnumber mpesareceipt mpesareceiptno mpesareceiptnumber transactionid "
        "transactionreceipt transid txnid transactionno transactionnumber confirmationcode mpesacode "
        "recu noderecu numerodurecu numeroderecu numerodetransaction iddetransaction idtransaction "
        "recibo nrecibo numerodorecibo numeroderecibo idtransacao iddatransacao "
        "risiti nambayarisiti nambayamuamala"
    ),
    "payee": (
        "payee accountno msisdn phone phoneno phonenumber telephone mobile mobileno mobilenumber "
        "otherpartyinfo otherparty recipient recipientmsisdn recipientnumber receiver receivermsisdn "
        "receivernumber receiverphone creditparty partyb beneficiary beneficiarymsisdn customer "
        "customermsisdn to beneficiaire destinataire numerodetelephone numerodubeneficiaire numero telefone "
        "telemovel beneficiario destinatario numerodetelefone numerodobeneficiario msisdndobeneficiario "
        "simu nambayasimu mpokeaji nambayampokeaji"
    ),
    "name": (
        "name receivername recipientname beneficiaryname customername payeename nom nomdubeneficiaire "
        "nomdudestinataire nome nomedobeneficiario nomedodestinatario jina jinalampokeaji"
    ),
    "amount": (
        "amount value transactionamount amountpaid amountkes amountksh montant montantpaye valor montante "
        "quantia valorpago kiasi kiasikilicholipwa"
    ),
    "paid_out": (
        "withdrawn paidout debit debits debitamount debitedamount moneyout sortie retrait debito saida "
        "montantdebite valordebitado kilichotoka zilizotoka"
    ),
    "paid_in": (
        "paidin credit credits creditamount creditedamount deposited moneyin entree credito entrada "
        "montantcredite valorcreditado kilichoingia zilizoingia"
    ),
    "moment": (
        "completiontime completedtime completedat completed completiondate date datetime dateandtime "
        "transactiondate transactiontime createdat paid paidat finalisedtime timestamp valuedate "
        "dateetheure dateheure datedetransaction data dataehora datahora datadatransacao datadeconclusao "
        "tarehe tarehenamuda tarehenasaa tareheyamuamala"
    ),
    "clock": "time heure hora horas saa muda wakati",
    "status": (
        "transactionstatus status state result paymentstatus etat statut resultat estado situacao resultado "
        "estadodatransacao hali haliyamuamala matokeo"
    ),
    "kind": (
        "details reasontype transactiontype type description narration typedetransaction libelle detail "
        "tipo tipodetransacao descricao detalhes aina ainayamuamala maelezo"
    ),
    "linked": (
        "linkedtransactionid linkedtransaction originaltransactionid reversalof transactionliee "
        "transacaoligada transacaooriginal"
    ),
}
_MEANING = {heading: meaning for meaning, text in HEADINGS.items() for heading in text.split()}

# What a line says of itself. Not here is, on purpose, what is said of an order and not of the money
# ("approved", "validé"), and what leaves it open ("timed out").
STATES = {
    CARRIED_OUT: (
        "completed|complete|success|successful|successfully|succeeded|paid|settled|processed|posted|done|"
        "transaction successful|transaction completed|payment successful|payment completed|"
        "reussi|reussie|succes|avec succes|effectue|effectuee|termine|terminee|paye|payee|execute|executee|"
        "transaction reussie|transaction effectuee|"
        "concluida|concluido|sucesso|com sucesso|pago|paga|efectuada|efectuado|efetuada|efetuado|realizada|"
        "realizado|processada|processado|completa|completo|completada|transacao concluida|"
        "imekamilika|umekamilika|yamekamilika|imefanikiwa|umefanikiwa|imelipwa|yamelipwa|muamala umekamilika"
    ),
    FAILED: (
        "failed|failure|declined|rejected|refused|cancelled|canceled|expired|unsuccessful|not completed|"
        "denied|aborted|transaction failed|payment failed|"
        "echoue|echouee|echec|rejete|rejetee|annule|annulee|refuse|refusee|expire|expiree|"
        "transaction echouee|falhada|falhado|falhou|falha|rejeitada|rejeitado|recusada|recusado|cancelada|"
        "cancelado|expirada|expirado|anulada|anulado|transacao falhada|"
        "imeshindikana|imeshindwa|umeshindikana|imefeli|imekataliwa|imeghairiwa|muamala umeshindikana"
    ),
    PENDING: (
        "pending|processing|in progress|initiated|submitted|queued|accepted|awaiting|"
        "en attente|en cours|en traitement|pendente|em curso|em processamento|em espera|"
        "inasubiri|inaendelea|inashughulikiwa"
    ),
    REVERSED: (
        "reversed|refunded|returned|remboursee|rembourse|extournee|extourne|revertida|revertido|estornada|"
        "estornado|devolvida|devolvido|reembolsada|reembolsado|imerejeshwa|imerudishwa"
    ),
}
_STATE = {word: meaning for meaning, text in STATES.items() for word in text.split("|")}

# A kind is known by a word in it; the first that is found counts.
KINDS = {
    FEE: (
        "charge|charges|fee|fees|commission|commissions|tariff|excise|tax|levy|frais|taxe|taxes|taxa|taxas|"
        "comissao|tarifa|encargo|encargos|imposto|ada|tozo|kodi|makato"
    ),
    REVERSAL: (
        "reversal|reversed|refund|chargeback|return|annulation|remboursement|extourne|reversao|estorno|"
        "devolucao|reembolso|urejesho|marejesho"
    ),
    MOVEMENT: (
        "payment|payments|payout|disbursement|disbursements|salary|deposit|deposits|transfer|transfers|"
        "withdrawal|b2c|b2b|c2b|float|funds|settlement|topup|funding|"
        "paiement|paiements|versement|virement|salaire|transfert|depot|retrait|decaissement|"
        "pagamento|pagamentos|transferencia|deposito|levantamento|desembolso|salario|"
        "malipo|uhamisho|mshahara|amana"
    ),
}
_KINDS = {meaning: frozenset(text.split("|")) for meaning, text in KINDS.items()}

# How a row of totals begins.
TOTALS = frozenset(
    (
        *(
            "total",
            "totals",
            "subtotal",
            "sum",
            "closing",
            "opening",
            "balance",
            "page",
            "carried",
            "brought",
        ),
        *("end", "generated", "printed", "totaux", "solde", "soldes", "fin", "soma", "saldo", "fim", "jumla"),
        *("salio", "mwisho"),
    )
)
_WORD = re.compile(r"[^\W\d_]+(?:\d+[^\W\d_]+)*")
# What a kind is followed by: to whom, from whom, of which transaction.
_PARTICULARS = re.compile(
    r"\s+(?:to|from|of|for|by|via|para|de|do|da|a|du|kwa|kutoka)\s.*|\s*[-:\u2013].*|\s*\d{3}.*"
)


@lru_cache(10_000)
def plain(text):
    """Words without case, accents and signs, one space between them: ``"Concluída!"`` is ``concluida``."""
    bare = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(char for char in bare if not unicodedata.combining(char))
    return " ".join(_WORD.findall(bare.replace("_", " ")))


def guess_meaning(heading):
    """What a column with this heading means, or ``ignore``."""
    return _MEANING.get(plain(heading).replace(" ", ""), "ignore")


@lru_cache(1000)
def state_of(text):
    """What a state says: :data:`CARRIED_OUT`, :data:`FAILED`, :data:`PENDING`, :data:`REVERSED`, or None."""
    return _STATE.get(plain(text))


@lru_cache(10_000)
def kind_word(text):
    """The kind without what differs from line to line: ``business payment`` of *Business Payment to 254…*."""
    return plain(_PARTICULARS.sub("", text.strip().casefold()) or text)


def kind_of(text):
    """What a kind says: :data:`MOVEMENT`, :data:`FEE`, :data:`REVERSAL`, or None."""
    return _kind_of(kind_word(text)) or _kind_of(plain(text))


@lru_cache(10_000)
def _kind_of(text):
    found = set(text.split())
    return next((meaning for meaning, known in _KINDS.items() if found & known), None)
