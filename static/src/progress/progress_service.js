/** @odoo-module **/

import { registry } from "@web/core/registry";

const NOTE = "g2p_mpesa.changed";

/**
 * Tells whoever asks when a batch or a cycle has changed: the server says so on the bus.
 */
export const progressService = {
    dependencies: ["bus_service"],

    start(env, { bus_service: bus }) {
        const watchers = new Map();

        bus.subscribe(NOTE, ({ channel }) => {
            for (const callback of watchers.get(channel) || []) {
                callback();
            }
        });

        return {
            /**
             * @param {string} channel
             * @param {Function} callback
             * @returns {Function} ends it
             */
            watch(channel, callback) {
                if (!watchers.has(channel)) {
                    watchers.set(channel, new Set());
                    bus.addChannel(channel);
                }
                watchers.get(channel).add(callback);
                return () => {
                    const callbacks = watchers.get(channel);
                    callbacks.delete(callback);
                    if (!callbacks.size) {
                        watchers.delete(channel);
                        bus.deleteChannel(channel);
                    }
                };
            },
        };
    },
};

registry.category("services").add("g2p_mpesa_progress", progressService);
