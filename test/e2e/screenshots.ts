import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { OpenAI, toFile } from 'openai'
import type { Browser, Page } from 'playwright-core'
import { adminClient } from '../../cli/edge/admin-client.ts'
import { homeAt } from '../../cli/local/home.ts'
import { readLocalSecrets } from '../../cli/local/secrets.ts'
import { Job } from '../../shared/api/fine-tuning.ts'
import { TenantId } from '../../shared/ids.ts'
import { violations } from './axe.ts'
import { openBrowser } from './browser.ts'
import { freePorts, localState, quartetStart, stop, untilReady } from './quartet-start.ts'

/**
 * Takes the screenshots of docs/console: `npm run screenshots`. It starts everything in a fresh home, gives a tenant
 * something to show (a job, a canary, usage), and photographs every page, light and dark, in which axe finds no fault.
 */

const folder = fileURLToPath(new URL('../../docs/console/', import.meta.url))
const schemes = ['light', 'dark'] as const

/** One picture: its file's name, the page's address, and what is done there before it is taken. */
interface Shot {
  readonly name: string
  readonly hash: string
  readonly prepare?: (page: Page) => Promise<void>
  readonly viewport?: { readonly width: number; readonly height: number }
}

const usual = { width: 1_120, height: 760 }
const phone = { width: 390, height: 760 }

interface Shown {
  readonly edge: string
  readonly key: string
  readonly adminKey: string
  readonly job: string
  readonly adapter: string
  readonly tenant: string
}

const tenantShots = ({ adapter, job }: Shown): readonly Shot[] => [
  { name: 'overview', hash: '#/overview' },
  { name: 'playground', hash: '#/playground/tickets@canary', prepare: askBoth },
  { name: 'models', hash: '#/models' },
  { name: 'model', hash: '#/models/tickets' },
  { name: 'adapters', hash: '#/adapters' },
  { name: 'adapter', hash: `#/adapters/${adapter}` },
  { name: 'files', hash: '#/files' },
  { name: 'jobs', hash: '#/jobs' },
  { name: 'job', hash: `#/jobs/${job}` },
  { name: 'phone-model', hash: '#/models/tickets', viewport: phone },
]

const operatorShots = ({ tenant }: Shown): readonly Shot[] => [
  { name: 'fleet', hash: '#/fleet' },
  { name: 'tenants', hash: '#/tenants' },
  { name: 'tenant', hash: `#/tenants/${tenant}` },
  { name: 'trainers', hash: '#/training' },
  { name: 'usage', hash: '#/usage' },
  { name: 'audit', hash: '#/audit' },
]

async function askBoth(page: Page): Promise<void> {
  await page.getByLabel('Message').fill('Where is my parcel? It should have come on Monday.')
  await page.getByRole('button', { name: 'Ask both' }).click()
  for (const panel of await page.locator('.facts').all()) await panel.waitFor()
  await page
    .getByText(/ended by/)
    .nth(1)
    .waitFor({ timeout: 120_000 })
}

/** Gives the tenant files, a job, a canary with requests on both sides, and a budget that is half spent. */
async function fill({
  adminKey,
  backbone,
  edge,
  key,
  tenant,
}: Pick<Shown, 'adminKey' | 'edge' | 'key'> & {
  readonly backbone: string
  readonly tenant: TenantId
}): Promise<Pick<Shown, 'adapter' | 'job'>> {
  const client = new OpenAI({ baseURL: `${edge}/v1`, apiKey: key })
  const admin = adminClient({ edge, adminKey })
  const examples = (await readFile(new URL('../../demo/tickets.train.jsonl', import.meta.url), 'utf8'))
    .trim()
    .split('\n')
  const file = await client.files.create({
    purpose: 'fine-tune',
    file: await toFile(Buffer.from(examples.slice(0, 40).join('\n')), 'tickets.jsonl'),
  })
  const job = await client.fineTuning.jobs.create({
    model: backbone,
    training_file: file.id,
    suffix: 'tickets',
    method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 6, batch_size: 12 } } },
  })
  let done = job
  while (done.finished_at === null) {
    await delay(1_000)
    done = await client.fineTuning.jobs.retrieve(job.id)
  }
  const { adapter } = Job.parse(done)
  if (adapter === null) throw new Error(`the job ended as ${done.status}`)
  await client.put('/aliases/tickets/canary', { body: { digest: adapter, percent: 30 } })
  for (let at = 0; at < 12; at++)
    await client.chat.completions.create({
      model: 'tickets',
      messages: [{ role: 'user', content: `Where is parcel ${at}?` }],
      max_tokens: 4,
    })
  await admin.changeTenant(tenant, { policy: { tokensPerDay: 1_500, requestsPerMinute: 60 } })
  return { job: job.id, adapter }
}

async function take(browser: Browser, { key, edge }: Pick<Shown, 'edge' | 'key'>, shots: readonly Shot[]) {
  for (const colorScheme of schemes) {
    const page = await browser.newPage({ colorScheme, viewport: usual })
    await page.goto(`${edge}/console/`)
    await page.getByLabel('Key').fill(key)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('button', { name: 'Sign out' }).waitFor()
    for (const { hash, name, prepare, viewport = usual } of shots) {
      await page.setViewportSize(viewport)
      await page.goto(`${edge}/console/${hash}`)
      // The page's own policy lets no function of Playwright's in.
      while ((await page.locator('.loading').count()) > 0) await delay(50)
      await prepare?.(page)
      const faults = await violations(page)
      if (faults.length > 0) throw new Error(`axe, ${name}, ${colorScheme}: ${faults.join('\n')}`)
      await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`) })
    }
    await page.close()
  }
}

async function main(): Promise<void> {
  await mkdir(folder, { recursive: true })
  const home = await mkdtemp(join(tmpdir(), 'quartet-screenshots-'))
  const started = quartetStart({ home, ports: await freePorts() })
  try {
    await untilReady(started)
    const { backbone, edge, tenants } = await localState(home)
    const shownTenant = tenants.find(({ aliases }) => aliases.some((alias) => alias === 'tickets'))
    const secrets = await readLocalSecrets(homeAt(home))
    if (shownTenant === undefined || secrets === undefined) throw new Error('the demo is not there')
    const { id, key } = shownTenant
    const { adminKey } = secrets
    const filled = await fill({ adminKey, backbone, edge, key, tenant: TenantId.parse(id) })
    const shown: Shown = { edge, key, adminKey, tenant: id, ...filled }
    const browser = await openBrowser()
    try {
      for (const colorScheme of schemes) {
        const page = await browser.newPage({ colorScheme, viewport: usual })
        await page.goto(`${edge}/console/`)
        await page.getByLabel('Key').waitFor()
        await page.screenshot({ path: join(folder, `sign-in-${colorScheme}.png`) })
        await page.close()
      }
      await take(browser, { edge, key }, tenantShots(shown))
      await take(browser, { edge, key: adminKey }, operatorShots(shown))
    } finally {
      await browser.close()
    }
  } finally {
    await stop(started)
    await rm(home, { recursive: true, force: true })
  }
}

await main()
