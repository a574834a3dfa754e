import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { homeAt } from '../../cli/local/home.ts'
import { readLocalSecrets } from '../../cli/local/secrets.ts'
import { CreateKeyResponse } from '../../shared/api/admin.ts'
import { openBrowser } from './browser.ts'
import { helpDesk, stack } from './shared-stack.ts'

/** The console in a real browser, against the whole stack. */

let browser: Browser
let axe: string
let admin: string

beforeAll(async () => {
  browser = await openBrowser()
  axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
  const secrets = await readLocalSecrets(homeAt(stack.home))
  if (secrets === undefined) throw new Error('the stack has no secrets')
  admin = secrets.adminKey
})
afterAll(() => browser.close())

const Violations = z.array(z.object({ id: z.string(), nodes: z.array(z.object({ html: z.string() })) }))

/** The faults that axe finds in a page, by rule. */
async function violations(page: Page): Promise<readonly string[]> {
  // Through the debugger: the page's own policy lets no script in.
  const found: unknown = await page.evaluate(
    `${axe}; axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations)`,
  )
  return Violations.parse(found).map(({ id, nodes }) => `${id}: ${nodes[0]?.html ?? ''}`)
}

async function signedIn(key: string, options: Parameters<Browser['newPage']>[0] = {}): Promise<Page> {
  const page = await browser.newPage(options)
  page.setDefaultTimeout(60_000)
  await page.goto(`${stack.edge}/console/`)
  await page.getByLabel('Key').fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  return page
}

const heading = (page: Page, name: string) => page.getByRole('heading', { level: 1, name }).waitFor()

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
    for (const colorScheme of ['light', 'dark'] as const) {
      const page = await signedIn(helpDesk.key, { colorScheme, viewport: { width: 390, height: 800 } })
      await heading(page, 'Overview')
      for (const name of ['Models', 'Adapters', 'Files', 'Fine-tuning', 'Overview']) {
        await page.getByRole('link', { name, exact: true }).click()
        await heading(page, name)
        await loaded(page)
        expect(await violations(page), `${name}, ${colorScheme}`).toEqual([])
      }
      await page.close()
    }
    const page = await signedIn(helpDesk.key)
    await page.getByRole('link', { name: 'Models', exact: true }).click()
    await page.getByLabel('Alias', { exact: true }).fill('from-console')
    await page.getByRole('button', { name: 'Deploy' }).click()
    await page.getByText('from-console names').waitFor()
    await page.getByRole('link', { name: 'from-console' }).click()
    await heading(page, 'from-console')
    await page.getByRole('button', { name: 'Delete alias…' }).click()
    expect(await page.getByRole('button', { name: 'Delete', exact: true }).isDisabled()).toBe(true)
    await page.getByLabel('Type from-console to confirm').fill('from-console')
    await page.getByRole('button', { name: 'Delete', exact: true }).click()
    await heading(page, 'Models')
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

test('an operator sees the fleet, issues a key that is shown once, and suspends and resumes a tenant', async () => {
  const page = await signedIn(admin)
  await heading(page, 'Fleet')
  await page.getByRole('cell', { name: 'ready' }).first().waitFor()
  for (const name of ['Usage', 'Audit log', 'Tenants']) {
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
