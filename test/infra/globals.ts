/* SST's components read these while they are loaded; deploy() sets the real ones. */
Object.assign(globalThis, { $app: { providers: {} }, $dev: false });
