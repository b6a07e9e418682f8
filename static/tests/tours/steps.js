/** @odoo-module **/

import { registry } from "@web/core/registry";
import { session } from "@web/session";

// Tours are written differently for 17.0: https://www.odoo.com/documentation/17.0/developer/reference/backend/testing.html
const IS_17 = session.server_version_info[0] === 17;
// Milliseconds for what should take moments, on a busy machine.
const PATIENCE = 60000;

function step(trigger, run) {
    const found = { trigger, timeout: PATIENCE, ...(run && { run }) };
    return IS_17 ? { ...found, in_modal: false, ...(!run && { isCheck: true }) } : found;
}

/**
 * Adds a tour, which begins on the page that is open.
 *
 * @param {string} name
 * @param {() => Object[]} steps
 */
export function addTour(name, steps) {
    registry.category("web_tour.tours").add(name, { steps, ...(IS_17 && { test: true }) });
}

/**
 * What the tour was given when it was begun.
 *
 * @returns {Object}
 */
export function given() {
    return window.mpesaTour;
}

/**
 * @param {string} selector
 * @param {string} [text] a part of what stands there
 */
function find(selector, text) {
    return text ? `${selector}:contains("${text}")` : selector;
}

/** Waits until something is to be seen. */
export function see(selector, text) {
    return step(find(selector, text));
}

/** Waits until something is not to be seen any more. */
export function seeNo(selector, text) {
    return step(`body:not(:has(${find(selector, text)}))`);
}

/** Clicks on something as soon as it is to be seen. */
export function click(selector, text) {
    return step(find(selector, text), "click");
}

/** Clicks on the button of a method. */
export function press(method) {
    return click(`button[name='${method}']:not([disabled])`);
}

/** Opens a page of a form. */
export function openPage(title) {
    return click(".o_notebook .nav-link", title);
}

/** Types into a field, in place of what is there. */
export function fill(field, value) {
    const widget = `.o_field_widget[name='${field}']`;
    return step(`${widget} input, ${widget} textarea`, `${IS_17 ? "text" : "edit"} ${value}`);
}

/** Types into a field that refers to a record, and chooses the one that is offered. */
export function choose(field, value) {
    return [
        step(`.o_field_widget[name='${field}'] input`, `${IS_17 ? "text" : "fill"} ${value}`),
        click(".o-autocomplete--dropdown-item:not(:has(.fa-spin))", value),
        seeNo(".o-autocomplete--dropdown-menu"),
    ];
}

/** Gives a file of text to a field, as its button does. */
export function attach(field, name, text) {
    return step(`.o_field_widget[name='${field}']`, () => {
        const files = new DataTransfer();
        files.items.add(new File([text], name, { type: "text/csv" }));
        const input = document.querySelector(`.o_field_widget[name='${field}'] input[type='file']`);
        input.files = files.files;
        input.dispatchEvent(new Event("change", { bubbles: true }));
    });
}

/**
 * Has whoever runs the tour look at the page, and goes on after that.
 *
 * @param {string} name
 */
export function look(name) {
    return step("body", async () => {
        if (!window.lookAtPage) {
            // Nobody looks, as in Odoo's own test runner.
            return;
        }
        await new Promise((resolve) => {
            window.goOnWithTour = resolve;
            window.lookAtPage(name);
        });
    });
}
