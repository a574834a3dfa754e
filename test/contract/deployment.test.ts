import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

/** These tests read the worker that `wrangler deploy` would send, without sending it. */

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Cloudflare's free plan allows 3 MB, compressed. Ours stays far below, as a larger worker starts later. */
const mostKilobytes = 512

let folder: string
let told: string
let bundle: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartet-deploy-'))
  const wrangler = join(root, 'node_modules/wrangler/bin/wrangler.js')
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [wrangler, 'deploy', '--dry-run', '--outdir', folder],
    { cwd: root, env: { ...process.env, WRANGLER_SEND_METRICS: 'false', NO_COLOR: '1' } },
  )
  told = stdout
  bundle = await readFile(join(folder, 'index.js'), 'utf8')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('the worker of wrangler.toml is ready to deploy, with every binding', () => {
  const bound = [...told.matchAll(/env\.(\w+) \((\w+)\)/g)].map(([, binding]) => binding)
  expect(bound).toEqual(
    expect.arrayContaining(['AUDIT', 'BUDGETS', 'FEED', 'IDEMPOTENCY', 'REGISTRY', 'STORE', 'TENANTS']),
  )
})

test('every Durable Object class that is bound is exported, and created by one migration', async () => {
  const config = await readFile(join(root, 'wrangler.toml'), 'utf8')
  const bound = [...config.matchAll(/class_name = "(\w+)"/g)].map(([, name]) => name)
  const migrated = [...config.matchAll(/new_sqlite_classes = \[([^\]]*)\]/g)].flatMap(([, list]) =>
    [...(list ?? '').matchAll(/"(\w+)"/g)].map(([, name]) => name),
  )
  const exported = /export \{([^}]*)\};?\s*(\/\/.*\s*)?$/
    .exec(bundle)?.[1]
    ?.split(',')
    .map((name) => name.trim())
  expect(bound.length).toBeGreaterThan(0)
  expect(migrated.toSorted()).toEqual(bound.toSorted())
  expect(exported).toEqual(expect.arrayContaining(bound))
})

test('the worker stays small', () => {
  const [, kilobytes] = /gzip: ([\d.]+) KiB/.exec(told) ?? []
  expect(Number(kilobytes)).toBeLessThan(mostKilobytes)
})
