import { readFile } from 'node:fs/promises'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { defaultBackbone } from '../../cli/command/settings.ts'
import { homeAt } from '../../cli/local/home.ts'
import { requireBackbone } from '../../cli/local/local-backbone.ts'
import { readLocalSecrets } from '../../cli/local/secrets.ts'
import { CreateKeyResponse } from '../../shared/api/admin.ts'
import { PublishResponse } from '../../shared/api/deployments.ts'
import type { TenantPolicyChange } from '../../shared/api/policy.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { HeartbeatResponse, NodeId } from '../../shared/heartbeat.ts'
import { signHeartbeat } from '../../shared/heartbeat-token.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import { makeAdapter } from '../edge/adapter.ts'
import { nodeStatus } from '../edge/node-status.ts'
import { violations } from './axe.ts'
import { type ConsoleOptions, openBrowser, openConsole } from './browser.ts'
import { helpDesk, stack } from './shared-stack.ts'

/** The console in a real browser, against the whole stack. */

let browser: Browser
let admin: string

beforeAll(async () => {
  browser = await openBrowser()
  const secrets = await readLocalSecrets(homeAt(stack.home))
  if (secrets === undefined) throw new Error('the stack has no secrets')
  admin = secrets.adminKey
})
afterAll(() => browser.close())

const signedIn = (key: string, options: ConsoleOptions = {}) =>
  openConsole(browser, { edge: stack.edge, key, ...options })

const heading = (page: Page, name: string | RegExp) => page.getByRole('heading', { level: 1, name }).waitFor()

/** Until nothing of a page is still being read. */
const loaded = (page: Page) =>
  expect.poll(() => page.getByRole('status', { name: 'Loading' }).count(), { timeout: 60_000 }).toBe(0)

async function newKey(): Promise<{ readonly id: string; readonly key: string }> {
  const response = await fetch(`${stack.edge}/admin/v1/tenants/${helpDesk.id}/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'console' }),
  })
  return CreateKeyResponse.parse(await response.json())
}

/** A node that joins the fleet, and is heard of as often as it is told to beat. It serves a backbone that nobody asks for. */
async function joiningNode(id: string): Promise<{ readonly beat: () => Promise<void> }> {
  const secrets = await readLocalSecrets(homeAt(stack.home))
  const key = nodeTokenKey(secrets?.nodeSecret ?? '')
  const node = NodeId.parse(id)
  let sequence = 0
  let epoch = ''
  const send = async (): Promise<boolean> => {
    const body = JSON.stringify({
      ...nodeStatus({ node, url: 'http://127.0.0.1:9', sequence: sequence++ }),
      settlements: [],
    })
    const token = await signHeartbeat(key, { edge: stack.edge, node, epoch, body: await sha256Hex(body) })
    const answer = await fetch(`${stack.edge}/fleet/v1/heartbeat`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body,
    })
    const told = HeartbeatResponse.parse(await answer.json())
    epoch = told.epoch
    return told.accepted
  }
  return {
    async beat() {
      // The first one only learns the registry's epoch.
      if (!(await send())) await send()
    },
  }
}

/** A call of the tenant's own. */
const own = (method: string, path: string, body?: Uint8Array<ArrayBuffer> | string) =>
  fetch(`${stack.edge}${path}`, {
    method,
    headers: { authorization: `Bearer ${helpDesk.key}`, 'content-type': 'application/json' },
    body: body ?? null,
  })

/** As the operator changes it. */
async function changePolicy(policy: TenantPolicyChange): Promise<void> {
  const answer = await fetch(`${stack.edge}/admin/v1/tenants/${helpDesk.id}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${admin}` },
    body: JSON.stringify({ policy }),
  })
  expect(answer.status).toBe(200)
}

async function publish(demo: string): Promise<string> {
  const file = await readFile(new URL(`../../demo/${demo}`, import.meta.url))
  const answer = await own('POST', '/v1/adapters', Uint8Array.from(file))
  return PublishResponse.parse(await answer.json()).digest
}

async function ask(model: string, maxTokens = 1): Promise<void> {
  const messages = [{ role: 'user', content: 'Where is my parcel?' }]
  const body = JSON.stringify({ model, messages, max_tokens: maxTokens })
  expect((await own('POST', '/v1/chat/completions', body)).status).toBe(200)
}

describe('a tenant', () => {
  test('with a wrong key stays outside and is told so', async () => {
    const page = await signedIn('qk_wrong')
    await page.getByRole('alert').getByText('This key does not work').waitFor()
    expect(await violations(page)).toEqual([])
    await page.close()
  })

  test('compares two models, and sees how likely each token was', async () => {
    const page = await signedIn(helpDesk.key)
    await heading(page, 'Overview')
    await page.getByRole('link', { name: 'Playground', exact: true }).click()
    await page.getByLabel('Message').fill('Where is my parcel?')
    await page.getByLabel('Model').nth(1).selectOption('tickets')
    await page.getByRole('button', { name: 'Ask both' }).click()
    await page.getByText('ended by stop').first().waitFor()
    await page.locator('.token').first().waitFor()
    expect(await page.locator('.token').first().getAttribute('title')).toMatch(/%/)
    expect(await violations(page)).toEqual([])
    await page.close()
  })

  test('deploys an adapter under a new alias, deletes it by name, and finds no page that axe complains of', async () => {
    const page = await signedIn(helpDesk.key, { viewport: { width: 390, height: 800 } })
    await heading(page, 'Overview')
    for (const name of ['Adapters', 'Files', 'Fine-tuning', 'Overview', 'Models']) {
      await page.getByRole('link', { name, exact: true }).click()
      await heading(page, name)
      await loaded(page)
      expect(await violations(page), name).toEqual([])
    }
    await page.getByLabel('Alias', { exact: true }).fill('from-console')
    await page.getByRole('button', { name: 'Deploy' }).click()
    await page.getByText('from-console names').waitFor()
    await page.getByRole('link', { name: 'from-console' }).click()
    await heading(page, 'from-console')
    await page
      .getByRole('region', { name: 'Serving' })
      .getByRole('link', { name: /^[0-9a-f]{12}$/ })
      .click()
    await heading(page, /^Adapter [0-9a-f]{12}$/)
    await loaded(page)
    expect(await violations(page)).toEqual([])
    await page.goBack()
    await page.getByRole('button', { name: 'Delete alias…' }).click()
    expect(await page.getByRole('button', { name: 'Delete', exact: true }).isDisabled()).toBe(true)
    await page.getByLabel('Type from-console to confirm').fill('from-console')
    await page.getByRole('button', { name: 'Delete', exact: true }).click()
    await heading(page, 'Models')
    await page.close()
  })

  test('calls a tool and answers in a schema where the playground asks for them', async () => {
    const page = await signedIn(helpDesk.key)
    await heading(page, 'Overview')
    await page.getByRole('link', { name: 'Playground', exact: true }).click()
    await page.getByLabel('Message').fill('What is the weather in Ulm?')
    await page.getByText('Parameters').click()
    const parameters = {
      type: 'object',
      properties: { ok: { type: 'boolean' } },
      required: ['ok'],
      additionalProperties: false,
    }
    const tool = { type: 'function', function: { name: 'weather', strict: true, parameters } }
    await page.getByLabel('Tools', { exact: true }).fill('[')
    await page.getByText('This is no JSON array of tools.').waitFor()
    await page.getByLabel('Tools', { exact: true }).fill(JSON.stringify([tool]))
    await page.getByLabel('tool_choice').selectOption('required')
    await page.getByRole('button', { name: 'Ask both' }).click()
    await page.getByText('Calls the tool weather').nth(1).waitFor()
    await page
      .getByText(/ended by/)
      .nth(1)
      .waitFor()
    expect(await page.locator('.notice pre').first().textContent()).toMatch(
      /^\{\s*"ok"\s*:\s*(true|false)\s*\}$/,
    )
    await page.getByLabel('Tools', { exact: true }).fill('')
    await page.getByLabel('JSON Schema of the answer').fill(JSON.stringify(parameters))
    await page.getByRole('button', { name: 'Ask both' }).click()
    const answered = page.getByRole('log', { name: 'Answer' })
    for (const side of [0, 1])
      await expect
        .poll(() => answered.nth(side).textContent(), { timeout: 60_000 })
        .toMatch(/^\{\s*"ok"\s*:\s*(true|false)\s*\}$/)
    expect(await violations(page)).toEqual([])
    await page.close()
  })

  test('gives a canary its share with the slider, sees what each side answers, and compares the two, promotes and rolls back', async () => {
    const second = await publish('orders.safetensors')
    const page = await signedIn(helpDesk.key, { viewport: { width: 390, height: 800 } })
    await heading(page, 'Overview')
    await page.goto(`${stack.edge}/console/#/models/tickets`)
    await heading(page, 'tickets')
    await page.getByLabel('Adapter that takes the share').selectOption(second)
    await page.getByLabel(/^Share:/).fill('40')
    await page.getByRole('button', { name: 'Begin canary' }).click()
    const counts = page.getByRole('table', { name: 'Requests since the canary began' })
    await counts.waitFor()
    const asked = 3
    for (let at = 0; at < asked; at++) await ask('tickets')
    const shown = async () =>
      (await counts.getByRole('row').allTextContents())
        .flatMap((row) => /(?:Alias|Canary)(\d+)/.exec(row)?.[1] ?? [])
        .reduce((sum, requests) => sum + Number(requests), 0)
    await expect.poll(shown, { timeout: 30_000 }).toBe(asked)
    expect(await violations(page)).toEqual([])
    await page.getByRole('link', { name: 'Compare both in the playground' }).click()
    await page.getByLabel('Message').fill('Where is my parcel?')
    await page.getByRole('button', { name: 'Ask both' }).click()
    await page
      .getByText(/ended by/)
      .nth(1)
      .waitFor()
    const adapters = await page.getByText(/^adapter [0-9a-f]{12}$/).allTextContents()
    expect(new Set(adapters).size).toBe(2)
    expect(adapters[1]).toBe(`adapter ${second.slice(0, 12)}`)
    await page.goto(`${stack.edge}/console/#/models/tickets`)
    const serving = page.getByRole('region', { name: 'Serving' })
    await page.getByRole('button', { name: 'Promote' }).click()
    await serving.getByText(second.slice(0, 12)).waitFor()
    await page
      .getByRole('button', { name: /^Roll back to version/ })
      .first()
      .click()
    await serving.getByText(adapters[0]?.slice('adapter '.length) ?? '').waitFor()
    await page.close()
    await own('DELETE', `/v1/adapters/${second}`)
  })

  test('gives an alias a form and a shadow, sees both answers side by side, and deletes them', async () => {
    const { manifest } = await requireBackbone(defaultBackbone)
    const { d, layers } = manifest.config
    // The chat template's generation header has four tokens.
    const late = (seed: number) =>
      makeAdapter({ backbone: { ...manifest, d, layers }, seed, rows: 1, tail: 4 })
    const [served, shadow] = await Promise.all([late(1), late(2)])
    for (const { digest, file } of [served, shadow])
      expect((await own('PUT', `/v1/adapters/${digest}`, file)).status).toBe(200)
    expect((await own('PUT', '/v1/aliases/watched', JSON.stringify({ digest: served.digest }))).status).toBe(
      200,
    )
    await changePolicy({ shadowTokensPerDay: 100_000 })
    const page = await signedIn(helpDesk.key)
    await heading(page, 'Overview')
    await page.goto(`${stack.edge}/console/#/models/watched`)
    await heading(page, 'watched')
    const deployment = page.getByRole('region', { name: 'Deploy another adapter' })
    await deployment.getByLabel('Adapter').selectOption(served.digest)
    await deployment.getByLabel('Form of its answers').selectOption('JSON of a schema')
    await deployment.getByText('Write a JSON Schema').waitFor()
    expect(await deployment.getByRole('button', { name: 'Deploy' }).isDisabled()).toBe(true)
    const schema = {
      type: 'object',
      properties: { ok: { type: 'boolean' } },
      required: ['ok'],
      additionalProperties: false,
    }
    await deployment.getByLabel('JSON Schema').fill(JSON.stringify(schema))
    await deployment.getByRole('button', { name: 'Deploy' }).click()
    await page.getByText('JSON of the schema watched').waitFor()
    await page.getByLabel('Adapter that answers too').selectOption(shadow.digest)
    await page.getByLabel(/^Share of the requests:/).fill('100')
    await page.getByRole('button', { name: 'Begin shadow' }).click()
    const answers = page.getByRole('region', { name: 'Answers of the shadow' })
    await answers.getByText('No answer yet').waitFor()
    await ask('watched', 32)
    const sides = answers.getByRole('article').locator('.answer')
    await sides.nth(1).waitFor()
    for (const side of await sides.allTextContents())
      expect(side).toMatch(/^\{\s*"ok"\s*:\s*(true|false)\s*\}$/)
    expect(await sides.nth(1).locator('.token').first().getAttribute('title')).toMatch(/%/)
    expect(await violations(page)).toEqual([])
    await answers.getByRole('button', { name: 'Delete answers…' }).click()
    await page.getByLabel('Type watched to confirm').fill('watched')
    await page.getByRole('button', { name: 'Delete', exact: true }).click()
    await answers.getByText('No answer yet').waitFor()
    await page.getByRole('button', { name: 'End shadow' }).click()
    await page.getByRole('button', { name: 'Begin shadow' }).waitFor()
    await answers.waitFor({ state: 'detached' })
    await page.close()
    await changePolicy({ shadowTokensPerDay: 0 })
    await own('DELETE', '/v1/aliases/watched')
    for (const { digest } of [served, shadow]) await own('DELETE', `/v1/adapters/${digest}`)
  })

  test('uploads examples, is told what they come to, starts a job on them, and cancels it', async () => {
    const examples = await readFile(new URL('../../demo/tickets.train.jsonl', import.meta.url), 'utf8')
    const buffer = Buffer.from(examples.split('\n').slice(0, 6).join('\n'))
    const page = await signedIn(helpDesk.key)
    await heading(page, 'Overview')
    await page.getByRole('link', { name: 'Files', exact: true }).click()
    await page
      .getByLabel('File', { exact: true })
      .setInputFiles({ name: 'from-console.jsonl', mimeType: 'application/jsonl', buffer })
    await page.getByRole('button', { name: 'Upload' }).click()
    await page.getByText('from-console.jsonl: 6 lines, all of them right.').waitFor()
    await page.getByText(`6 examples, `).first().waitFor()
    await page.getByRole('link', { name: 'Fine-tuning', exact: true }).click()
    await page.getByLabel('Epochs').fill('4')
    await page.getByRole('button', { name: 'Start' }).click()
    await heading(page, /^ftjob-/)
    await page.getByRole('button', { name: 'Cancel' }).click()
    await page.getByText('cancelled', { exact: true }).waitFor()
    await page.close()
  })

  test('sees what is empty, what fails and what may be old, and is led back when its key expires', async () => {
    const { id, key } = await newKey()
    const page = await signedIn(key, { colorScheme: 'dark' })
    await heading(page, 'Overview')
    let isAway = true
    await page.route('**/v1/fine_tuning/jobs*', (route) => (isAway ? route.abort() : route.continue()))
    await page.getByRole('link', { name: 'Fine-tuning', exact: true }).click()
    await page.getByRole('alert').getByText('The edge cannot be reached').waitFor()
    expect(await violations(page)).toEqual([])
    isAway = false
    await page.getByRole('button', { name: 'Try again' }).click()
    await page
      .getByText('No job yet')
      .or(page.getByRole('table', { name: 'Jobs' }))
      .waitFor()
    isAway = true
    await page.getByText('What you see may be old').waitFor()
    expect(await violations(page)).toEqual([])
    isAway = false
    await fetch(`${stack.edge}/admin/v1/tenants/${helpDesk.id}/keys/${id}`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
      body: JSON.stringify({ expiresAt: Date.now() + 1_000 }),
    })
    await page.getByText('The key is not accepted any more: it was revoked or has expired').waitFor()
    expect(await page.evaluate('sessionStorage.length')).toBe(0)
    expect(await violations(page)).toEqual([])
    await page.close()
  })

  test('whose key is revoked while the page is open is led back to the sign-in', async () => {
    const { id, key } = await newKey()
    const page = await signedIn(key)
    await heading(page, 'Overview')
    await fetch(`${stack.edge}/admin/v1/tenants/${helpDesk.id}/keys/${id}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${admin}` },
    })
    await page.getByText('The key is not accepted any more').waitFor()
    expect(await page.evaluate('sessionStorage.length')).toBe(0)
    await page.close()
  })
})

test('an operator sees a node die, edits a policy, and finds in the audit log who did it', async () => {
  const node = await joiningNode('console-node')
  await node.beat()
  const page = await signedIn(admin)
  await heading(page, 'Fleet')
  const row = page.getByRole('row').filter({ hasText: 'console-node' })
  await row.getByText('ready').waitFor()
  // It is not heard any more.
  await row.getByText('lost').waitFor({ timeout: 60_000 })
  await page.getByText(/1 of 2/).waitFor()
  expect(await violations(page)).toEqual([])
  await page.goto(`${stack.edge}/console/#/tenants/${helpDesk.id}`)
  await heading(page, helpDesk.id)
  const limit = page.getByLabel('Requests per minute')
  await limit.fill('many')
  await page.getByText('Must be a whole number').waitFor()
  expect(await page.getByRole('button', { name: 'Save policy' }).isDisabled()).toBe(true)
  await limit.fill('900')
  await page.getByRole('button', { name: 'Save policy' }).click()
  await page.getByRole('region', { name: 'Budget', exact: true }).getByText('Requests per minute').waitFor()
  await page.getByRole('link', { name: 'Audit log', exact: true }).click()
  await page.getByLabel('Tenant').fill(helpDesk.id)
  await page.getByRole('textbox', { name: 'Action' }).fill('tenant')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByRole('cell', { name: 'tenant.change' }).first().waitFor()
  await page.getByLabel('Tenant').fill('nobody-here')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByText('Nothing matches').waitFor()
  expect(await violations(page)).toEqual([])
  await changePolicy({ requestsPerMinute: null })
  await page.close()
})

test('an operator sees the fleet, issues a key that is shown once, and suspends and resumes a tenant', async () => {
  const page = await signedIn(admin, { colorScheme: 'dark' })
  await heading(page, 'Fleet')
  await page.getByRole('cell', { name: 'ready' }).first().waitFor()
  for (const name of ['Trainers', 'Usage', 'Audit log', 'Tenants']) {
    await page.getByRole('link', { name, exact: true }).click()
    await heading(page, name)
    await loaded(page)
    expect(await violations(page), name).toEqual([])
  }
  await page.getByLabel('Name').fill('console-made')
  await page.getByRole('button', { name: 'Create' }).click()
  await heading(page, 'console-made')
  await page.getByRole('button', { name: 'Issue a key' }).click()
  const secret = await page.locator('code.secret').textContent()
  expect(secret).toMatch(/^qk_/)
  await page.getByRole('button', { name: 'I have copied it' }).click()
  expect(await page.content()).not.toContain(secret)
  await page.getByRole('button', { name: 'Suspend…' }).click()
  await page.getByLabel('Type console-made to confirm').fill('console-made')
  await page.getByRole('button', { name: 'Suspend', exact: true }).click()
  await page.getByRole('button', { name: 'Resume' }).click()
  await page.getByRole('button', { name: 'Suspend…' }).waitFor()
  expect(await violations(page)).toEqual([])
  await page.close()
})
