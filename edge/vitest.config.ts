import { cloudflareTest } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'

/** The worker's tests run inside workerd, with its KV and Durable Objects; the nodes behind it are stubs over HTTP. */
export default defineConfig({
  plugins: [
    cloudflareTest(({ inject }) => ({
      main: './index.ts',
      wrangler: { configPath: '../wrangler.toml' },
      miniflare: {
        bindings: {
          QUARTET_NODES: JSON.stringify(inject<StubAddress[]>('stubNodes')),
          QUARTET_NODE_SECRET: 'test-node-secret-of-at-least-32-bytes',
          QUARTET_ADMIN_KEY: 'test-admin-key-0123456789',
          QUARTET_REQUEST_TIMEOUT_MS: '5000',
          QUARTET_LOG_LEVEL: 'warn',
          QUARTET_GATHER_MS: '10',
        },
      },
    })),
  ],
  test: {
    name: 'edge',
    root: import.meta.dirname,
    include: ['**/*.test.ts', '../test/edge/**/*.test.ts'],
    globalSetup: ['../console/build.ts', '../test/edge/start-stub-nodes.ts'],
    setupFiles: ['../test/edge/import-once.ts', '../test/edge/fresh-storage.ts'],
    isolate: false,
    fileParallelism: false,
    sequence: { groupOrder: 1 },
    testTimeout: 20_000,
  },
})

interface StubAddress {
  readonly id: string
  readonly url: string
}
