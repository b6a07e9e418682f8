{
    "name": "G2P Registry: Base (stand-in)",
    "summary": "Stand-in for OpenG2P's addon of this name, for tests and the demo. Never for a deployment.",
    "version": "1.0.0",
    "category": "G2P",
    "author": "g2p_payment_simple_mpesa contributors",
    "license": "LGPL-3",
    "depends": ["base", "mail", "phone_validation"],
    "external_dependencies": {"python": ["phonenumbers"]},
    "data": [
        "security/g2p_security.xml",
        "security/ir.model.access.csv",
        "views/id_type_views.xml",
        "views/registrant_views.xml",
    ],
}
