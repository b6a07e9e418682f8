/** @odoo-module **/

import { browser } from "@web/core/browser/browser";
import { registry } from "@web/core/registry";
import { standardWidgetProps } from "@web/views/widgets/standard_widget_props";
import { Component, onMounted, useRef, xml } from "@odoo/owl";

/**
 * In a dialogue that moves money, the focus begins on the button that does nothing: whoever presses a key once
 * too often sends nobody anything. Left to itself, it begins on what comes first, and on Odoo 17.0 nowhere.
 */
export class CalmFocus extends Component {
    static template = xml`<span t-ref="place" class="d-none" />`;
    static props = { ...standardWidgetProps };

    setup() {
        const place = useRef("place");
        // The dialogue's footer is put into its place after this.
        onMounted(() =>
            browser.setTimeout(() =>
                place.el?.closest(".modal")?.querySelector(".o_g2p_mpesa_calm")?.focus()
            )
        );
    }
}

registry.category("view_widgets").add("g2p_mpesa_calm_focus", { component: CalmFocus });
