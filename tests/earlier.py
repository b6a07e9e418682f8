"""A module such as OpenG2P's own of this technical name, as far as an update has to do with it.

``test_migration`` writes it to a folder. The scripts that fill it and look at it are for Odoo's shell.
"""

OLD = "g2p.program.payment.manager.simple.mpesa"
OLD_TABLE = OLD.replace(".", "_")

EARLIER = {
    "__manifest__.py": """
        {
            "name": "Earlier M-Pesa module",
            "version": "0.0.0",
            "license": "LGPL-3",
            "depends": ["g2p_registry_base", "g2p_programs"],
            "data": ["ir.model.access.csv", "views.xml"],
        }
    """,
    "__init__.py": "from . import models",
    "models.py": """
        from odoo import api, fields, models

        MODEL = "g2p.program.payment.manager.simple.mpesa"


        class Wrapper(models.Model):
            _inherit = "g2p.program.payment.manager"

            @api.model
            def _selection_manager_ref_id(self):
                return super()._selection_manager_ref_id() + [(MODEL, "Earlier")]


        class Manager(models.Model):
            _name = MODEL
            _inherit = ["g2p.program.payment.manager.default", "mail.thread", "mail.activity.mixin"]
            _description = "Earlier"

            batch_tag_ids = fields.Many2many(
                "g2p.payment.batch.tag", "g2p_pay_batch_tag_pay_manager_simple_mpesa", ondelete="cascade"
            )
            create_batch = fields.Boolean(default=True)
            payee_id_type = fields.Selection(
                [(name, name) for name in ("bank_acc_no", "bank_acc_iban", "phone", "email", "reg_id")],
                required=True,
            )
            reg_id_type_for_payee_id = fields.Many2one("g2p.id.type")
            customer_type = fields.Char(default="subscriber")
            auth_endpoint_url = fields.Char(required=True)
            payment_endpoint_url = fields.Char(required=True)
            api_timeout = fields.Integer(default=10)
            username = fields.Char(required=True)
            password = fields.Char(required=True)

            @api.model_create_multi
            def create(self, vals_list):
                managers = self.browse()
                for vals in vals_list:
                    managers += super().create(vals)
                return managers
    """,
    "ir.model.access.csv": """
        id,name,model_id:id,group_id:id,perm_read,perm_write,perm_create,perm_unlink
        {table}_admin,A,model_{table},g2p_registry_base.group_g2p_admin,1,1,1,1
        {table}_program_manager,B,model_{table},g2p_programs.g2p_program_manager,1,1,1,0
        {table}_program_validator,C,model_{table},g2p_programs.g2p_program_validator,1,0,0,0
    """,
    "views.xml": """
        <odoo>
            <record id="view_payment_manager_simple_mpesa_tree" model="ir.ui.view">
                <field name="name">earlier list</field>
                <field name="model">{model}</field>
                <field name="priority">1</field>
                <field name="arch" type="xml"><{list}><field name="name" /></{list}></field>
            </record>
            <record id="view_payment_manager_simple_mpesa_form" model="ir.ui.view">
                <field name="name">earlier form</field>
                <field name="model">{model}</field>
                <field name="inherit_id" ref="g2p_programs.view_payment_manager_default_form" />
                <field name="mode">primary</field>
                <field name="arch" type="xml">
                    <xpath expr="//sheet" position="inside">
                        <group name="earlier"><field name="password" password="1" /></group>
                    </xpath>
                </field>
            </record>
            <record id="payment_manager_simple_mpesa_filter" model="ir.ui.view">
                <field name="name">earlier filter</field>
                <field name="model">{model}</field>
                <field name="arch" type="xml"><search><field name="name" /></search></field>
            </record>
            <record id="action_payment_manager_simple_mpesa" model="ir.actions.act_window">
                <field name="name">Earlier</field>
                <field name="res_model">{model}</field>
                <field name="view_mode">{list},form</field>
                <field name="search_view_id" ref="payment_manager_simple_mpesa_filter" />
            </record>
            <record id="action_payment_manager_simple_mpesa_form_view" model="ir.actions.act_window.view">
                <field name="sequence">1</field>
                <field name="view_mode">form</field>
                <field name="view_id" ref="view_payment_manager_simple_mpesa_form" />
                <field name="act_window_id" ref="action_payment_manager_simple_mpesa" />
            </record>
            <menuitem
                id="menu_payment_manager_simple_mpesa"
                action="action_payment_manager_simple_mpesa"
                parent="g2p_programs.g2p_manager_menu_root"
            />
        </odoo>
    """,
}

REMOVE = """
env["ir.module.module"].search([("name", "=", "g2p_payment_simple_mpesa")]).button_immediate_uninstall()
env.cr.commit()
"""

FILL = """
import json
from datetime import date

OLD = "g2p.program.payment.manager.simple.mpesa"
program = env["g2p.program"].create({
    "name": "Earlier",
    "journal_id": env["account.journal"].create({"name": "Earlier", "code": "EA", "type": "bank"}).id,
})
tag = env["g2p.payment.batch.tag"].create({"name": "All", "order": 1, "domain": "[]", "max_batch_size": 9})
manager = env[OLD].create({
    "name": "M-Pesa of before",
    "program_id": program.id,
    "batch_tag_ids": [(6, 0, tag.ids)],
    "payee_id_type": "email",
    "auth_endpoint_url": "https://gateway.example.org/login",
    "payment_endpoint_url": "https://gateway.example.org/deposit",
    "api_timeout": 33,
    "username": "agent@example.org",
    "password": "clear-text",
    "customer_type": " Dealer",
})
wrapper = env["g2p.program.payment.manager"].create({
    "program_id": program.id, "manager_ref_id": f"{OLD},{manager.id}",
})
program.payment_managers = [(6, 0, wrapper.ids)]

partner = env.ref("base.partner_admin")
manager._message_log(body="Checked with the bank")
manager.message_subscribe(partner_ids=partner.ids)
manager.with_context(mail_activity_quick_update=True).activity_schedule(
    "mail.mail_activity_data_todo", summary="Renew the contract", user_id=2
)
attachment = {"name": "contract.txt", "raw": b"contract", "res_model": OLD, "res_id": manager.id}
env["ir.attachment"].create(attachment)
action = env.ref("g2p_payment_simple_mpesa.action_payment_manager_simple_mpesa")
env["ir.filters"].create({"name": "Mine", "model_id": OLD, "domain": "[]", "action_id": action.id})
env["ir.model.data"].create({"module": "__export__", "name": "mine", "model": OLD, "res_id": manager.id})
view = env["ir.ui.view"].create({
    "name": "Somebody's own",
    "model": OLD,
    "inherit_id": env.ref("g2p_payment_simple_mpesa.view_payment_manager_simple_mpesa_form").id,
    "arch": '<group name="earlier" position="inside"><field name="currency_id" /></group>',
})

cycle = env["g2p.cycle"].create({
    "name": "Earlier", "program_id": program.id, "state": "approved",
    "start_date": date(2026, 1, 1), "end_date": date(2026, 1, 31), "locked": True, "locked_reason": "Sending",
})

def payment(started=None, completed=None, entitlement=None, **vals):
    if not entitlement:
        person = env["res.partner"].create({"name": "Somebody", "is_registrant": True})
        entitlement = env["g2p.entitlement"].create({
            "cycle_id": cycle.id, "partner_id": person.id, "initial_amount": 100, "state": "approved",
        })
    batch = env["g2p.payment.batch"].create({
        "name": "Earlier", "cycle_id": cycle.id,
        "batch_has_started": started, "batch_has_completed": completed,
    })
    created = env["g2p.payment"].create({
        "name": "Earlier", "entitlement_id": entitlement.id, "cycle_id": cycle.id, "amount_issued": 100,
        "batch_id": batch.id, **vals,
    })
    batch.payment_ids = [(6, 0, created.ids)]
    return created

paid = payment(True, True, state="sent", status="paid", amount_paid=100)
payments = {
    "paid": paid,
    "stuck": payment(True),
    "unsent": payment(),
    "again": payment(entitlement=paid.entitlement_id),
    "died": payment(),
    "queued": payment(),
    "requeued": payment(),
}
for name in ("died", "queued", "requeued"):
    manager.with_delay(description=name)._send_payments(payments[name].batch_id)
env["queue.job"].flush_model()
requeued = env["queue.job"].search([("name", "=", "requeued")])
requeued._message_post_on_failure()
env.cr.execute("UPDATE queue_job SET state = 'failed', date_started = now() WHERE id = %s", [requeued.id])
requeued.invalidate_recordset()
requeued.requeue()
env.flush_all()
env.cr.execute(
    "UPDATE queue_job SET state = 'started', retry = 1, date_started = now() WHERE name = 'died'"
)
env.cr.commit()
print(json.dumps({"ids": {name: record.id for name, record in payments.items()}, "manager": manager.id,
                  "program": program.id, "wrapper": wrapper.id, "tag": tag.id, "partner": partner.id,
                  "view": view.id, "cycle": cycle.id, "action": action.id}))
"""

LOOK = """
import json

MANAGERS = ("g2p.program.payment.manager.mpesa", "g2p.program.payment.manager")
LISTED = "list" if "list" in dict(env["ir.ui.view"]._fields["type"].selection) else "tree"
for model in (*MANAGERS, "g2p.payment", "g2p.payment.batch"):
    for kind in ("form", LISTED, "search"):
        env[model].get_view(view_type=kind)
env["queue.job"].search([]).read()
env["g2p.program.payment.manager"].search([]).read()
manager = env["g2p.program.payment.manager.mpesa"].search([("name", "=", "M-Pesa of before")])
program = manager.program_id
print(json.dumps({
    "of the program": [str(program.get_manager(7)), program.get_manager(7).name],
    "password": manager.password,
    "messages": [str(body) for body in manager.message_ids.mapped("body")],
    "activities": manager.activity_ids.mapped("summary"),
    "tags": manager.batch_tag_ids.mapped("name"),
    "menu": env.ref("g2p_payment_simple_mpesa.menu_manager").action.res_model,
    "form": env.ref("g2p_payment_simple_mpesa.view_manager_form").arch,
}))
"""
