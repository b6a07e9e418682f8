/** @odoo-module **/

import {
    addTour,
    attach,
    choose,
    click,
    fill,
    given,
    look,
    press,
    see,
    seeNo,
} from "@g2p_payment_simple_mpesa/../tests/tours/steps";

// From a batch with a doubt: settles it as not paid.
addTour("g2p_mpesa_settle", () => [
    look("batch-of-finance"),
    click(".alert button", "Settle Doubts"),
    see(".o_list_view .o_data_row"),
    look("doubts"),
    click(".o_data_row .o_data_cell"),
    see(".o_form_view .o_form_sheet h1", "Person"),
    click("button", "Settle"),
    see(".modal", "gateway's own records"),
    look("what-is-settled"),
    click(".modal .o_field_radio label", "Not paid"),
    fill("reason", "Not on the statement of today"),
    look("settle"),
    click(".modal button[name='action_settle']"),
    seeNo(".modal"),
    look("settled"),
]);

// From the list of statements: compares one in which a doubt is paid and somebody is paid twice, settles by it.
addTour("g2p_mpesa_statement", () => {
    const { program, statement, currency } = given();
    const summary = ".o_field_widget[name='summary_ids'] .o_data_row";
    return [
        look("no-statement-yet"),
        click(".o_list_button_add"),
        see(".o_form_view"),
        ...choose("program_id", program),
        attach("file", "statement.csv", statement),
        see(".o_field_widget[name='column_ids'] .o_data_row", "Receipt No."),
        look("columns-guessed"),
        // No column of this file says so.
        click(".o_field_widget[name='only_carried_out'] input"),
        click(".o_field_widget[name='account_is_ours'] input"),
        look("what-the-file-does-not-say"),
        press("action_compare"),
        see(".alert-danger", "2"),
        see(".alert-danger", "100.00"),
        see(".alert-danger", currency),
        see(".alert-warning", "1"),
        see(summary, "Paid twice"),
        see(summary, "Agreed"),
        see(summary, currency),
        look("compared"),
        click(".alert-danger button"),
        see(".o_list_view .o_data_row", "Paid twice"),
        see(".o_list_view .o_data_row", currency),
        // A list may show first what it showed last.
        seeNo(".o_list_view .o_data_row:nth-child(3)"),
        look("paid-twice"),
        click(".o_back_button a"),
        press("action_settle"),
        see(".modal", "from its line of the statement"),
        look("settle-by-statement"),
        click(".modal button[name='action_settle']"),
        seeNo(".modal"),
    ];
});
