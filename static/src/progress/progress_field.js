/** @odoo-module **/

import { Component, onWillUnmount, useEffect } from "@odoo/owl";
import { registry } from "@web/core/registry";
import { useService } from "@web/core/utils/hooks";
import { formatInteger, formatMonetary } from "@web/views/fields/formatters";
import { standardFieldProps } from "@web/views/fields/standard_field_props";

// Milliseconds. Where the bus does not come through, a page with payments on their way looks for itself.
const PATIENCE = 20000;

/**
 * How far the payments of a batch or a cycle are. In a form it moves while the page is open: the whole record
 * is read again when the server says that it has changed, unless somebody is editing it. Each part opens its
 * payments.
 */
export class MpesaProgressField extends Component {
    static template = "g2p_payment_simple_mpesa.Progress";
    static props = { ...standardFieldProps };

    setup() {
        this.progress = useService("g2p_mpesa_progress");
        this.reading = false;
        this.isOver = false;
        useEffect(
            (isLive, model, id) => (isLive && id ? this.follow(model, id) : undefined),
            () => [this.isLive, this.props.record.resModel, this.props.record.resId]
        );
        onWillUnmount(() => {
            this.isOver = true;
        });
    }

    /** Not in the rows of a list: a list is read as a whole. */
    get isLive() {
        return this.props.record === this.props.record.model.root;
    }

    get value() {
        return this.props.record.data[this.props.name] || { total: 0, through: 0, parts: [], label: "" };
    }

    width(part) {
        return `width: ${(100 * part.count) / (this.value.total || 1)}%`;
    }

    count(part) {
        return formatInteger(part.count);
    }

    amount(part) {
        return formatMonetary(part.amount, { currencyId: this.value.currency });
    }

    /** The payments of one part, in a list, as a button of the form would open them. */
    open(part) {
        const { context, evalContext, resModel, resId, resIds } = this.props.record;
        return this.env.onClickViewButton({
            clickParams: {
                type: "object",
                name: "action_mpesa_show",
                context: { mpesa_show: part.name },
            },
            getResParams: () => ({ context, evalContext, resModel, resId, resIds }),
        });
    }

    follow(model, id) {
        const read = () => this.read();
        const stop = this.progress.watch(`g2p_mpesa_${model}_${id}`, read);
        const timer = setInterval(() => this.value.moving && this.read(), PATIENCE);
        return () => {
            stop();
            clearInterval(timer);
        };
    }

    async read() {
        if (this.reading || this.isOver) {
            this.again = true;
            return;
        }
        this.reading = true;
        this.again = false;
        try {
            if (!(await this.props.record.isDirty())) {
                await this.props.record.load();
            }
        } finally {
            this.reading = false;
        }
        if (this.again && !this.isOver) {
            await this.read();
        }
    }
}

registry.category("fields").add("g2p_mpesa_progress", {
    component: MpesaProgressField,
    supportedTypes: ["json"],
});
