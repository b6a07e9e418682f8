from odoo import models


class JobRelateMixin(models.AbstractModel):
    _name = "job.relate.mixin"
    _description = "Button to the queue jobs of a model"

    def _get_related_job_domain(self):
        return [("model_name", "like", self._name)]

    def action_view_related_queue_jobs(self):
        """Open the jobs of this model; those of a payment manager have another and are not among them."""
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Related Job(s)"),
            "res_model": "queue.job",
            "view_mode": "list,form",
            "domain": self._get_related_job_domain(),
        }
