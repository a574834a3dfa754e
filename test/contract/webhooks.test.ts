import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import OpenAI from 'openai'
import { afterEach, describe, expect, test } from 'vitest'
import { AlertBook } from '../../edge/webhooks/alert-book.ts'
import { deliver, eventOf, webhookSecret } from '../../edge/webhooks/deliver.ts'
import { checkWebhookUrl } from '../../edge/webhooks/webhook-url.ts'
import { memorySql } from '../fakes/memory-sql.ts'

const servers: { close: () => void }[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  servers.push({
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  })
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  return `http://127.0.0.1:${address.port}/hook`
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request) text += String(chunk)
  return text
}

const level = { budget: 'tokensPerDay', period: '2026-11-29', limit: 1_000 } as const
const secret = await webhookSecret(new Uint8Array(32), { tenant: 'acme', nonce: 'one' })

function alertOf(spent = 800) {
  const book = new AlertBook(memorySql())
  book.setWebhook({ tenant: 'acme', url: 'https://example.com', nonce: 'one' })
  book.note({ ...level, spent }, 5_000)
  const alert = book.list(1)[0]
  if (alert === undefined) throw new Error('nothing was noted')
  return { alert, book }
}

describe('a webhook', () => {
  test('is told with a signature that OpenAI’s client verifies, and that another secret does not make', async () => {
    const received: { body: string; headers: IncomingMessage['headers'] }[] = []
    const url = await serve((request, response) => {
      void bodyOf(request).then((body) => {
        received.push({ body, headers: request.headers })
        response.writeHead(204).end()
      })
    })
    const event = eventOf('acme', alertOf().alert)
    expect(await deliver(event, { webhook: { url, secret } })).toBeUndefined()
    const [got] = received
    if (got === undefined) throw new Error('nothing came')
    const headers = Object.fromEntries(
      Object.entries(got.headers).map(([name, value]) => [name, String(value)]),
    )
    const client = new OpenAI({ apiKey: 'none' })
    const event2: unknown = await client.webhooks.unwrap(got.body, headers, secret)
    expect(event2).toMatchObject({
      type: 'budget.threshold_reached',
      data: {
        tenant: 'acme',
        budget: 'tokensPerDay',
        period: '2026-11-29',
        percent: 80,
        spent: 800,
        limit: 1_000,
      },
    })
    const other = await webhookSecret(new Uint8Array(32), { tenant: 'acme', nonce: 'two' })
    await expect(client.webhooks.unwrap(got.body, headers, other)).rejects.toThrow(/signature/i)
  })

  test('that hangs, redirects, fails or is gone has not taken it, and says why', async () => {
    const event = eventOf('acme', alertOf().alert)
    const followed: string[] = []
    const target = await serve((request, response) => {
      followed.push(request.url ?? '')
      response.end()
    })
    const call = async (listener: RequestListener) =>
      deliver(event, { webhook: { url: await serve(listener), secret }, timeoutMs: 300 })
    expect(await call(() => undefined)).toMatch(/did not answer within 0.3 s/)
    expect(await call((_, response) => response.writeHead(307, { location: target }).end())).toMatch(
      /answered 307; redirects are not followed/,
    )
    expect(followed).toEqual([])
    expect(await call((_, response) => response.writeHead(500).end())).toBe('it answered 500')
    expect(await deliver(event, { webhook: { url: 'http://127.0.0.1:9/', secret } })).toMatch(
      /cannot be reached/,
    )
  })

  test('whose answer never ends takes no longer than its head', async () => {
    const url = await serve((_, response) => {
      response.writeHead(200)
      response.write('x'.repeat(1_000))
    })
    const event = eventOf('acme', alertOf().alert)
    expect(await deliver(event, { webhook: { url, secret }, timeoutMs: 5_000 })).toBeUndefined()
  })

  test.each([
    'http://hooks.acme.com/',
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://[::1]/',
    'https://[::ffff:169.254.169.254]/',
    'https://169.254.169.254/latest/meta-data',
    'https://localhost/',
    'https://localhost./',
    'https://intranet/',
    'https://metadata.google.internal/',
    'https://printer.local/',
    'https://user:pass@acme.com/',
    'https://acme.com:8443/',
    'ftp://acme.com/',
    'acme.com',
    'https://printer.localdomain/hook',
    'https://router.private/hook',
    'https://wiki.intra/hook',
    'https://kubernetes.default.svc/hook',
    'https://vault.service.consul./hook',
    'https://acme..com/hook',
    'https://.com/hook',
  ])('at %s is refused in words', (url) => {
    expect(() => checkWebhookUrl(url, { allowPrivate: false })).toThrow(/^url: /)
  })

  test('at a public host over https is taken, and at any address where the operator allows it', () => {
    expect(checkWebhookUrl('https://hooks.acme.com/quartet?a=1', { allowPrivate: false }).href).toBe(
      'https://hooks.acme.com/quartet?a=1',
    )
    expect(checkWebhookUrl('http://127.0.0.1:9000/', { allowPrivate: true }).port).toBe('9000')
    expect(() => checkWebhookUrl('file:///etc/passwd', { allowPrivate: true })).toThrow(/https/)
  })
})

describe('the alerts of a budget', () => {
  test('stand once for each share of a period, however often the level is looked at', () => {
    const book = new AlertBook(memorySql())
    book.setWebhook({ tenant: 'acme', url: 'https://example.com', nonce: 'one' })
    expect(book.note({ ...level, spent: 499 }, 1)).toBe(false)
    expect(book.note({ ...level, spent: 500 }, 2)).toBe(true)
    expect(book.note({ ...level, spent: 799 }, 3)).toBe(false)
    expect(book.note({ ...level, spent: 900, isRefusing: true }, 4)).toBe(true)
    expect(book.note({ ...level, spent: 1_000 }, 5)).toBe(false)
    expect(book.list(9).map(({ at, percent }) => [percent, at])).toEqual([
      [100, 4],
      [80, 4],
      [50, 2],
    ])
    expect(book.note({ ...level, period: '2026-11-30', spent: 500 }, 6)).toBe(true)
  })

  test('are told again after a while, nine times in a day, and then given up', () => {
    const { alert, book } = alertOf(500)
    let now = 5_000
    for (let attempt = 0; attempt < 9; attempt++) {
      const due = book.due(now)
      expect(due?.attempts).toBe(attempt)
      if (due === undefined) return
      book.attempted(due, { problem: 'it answered 500', now })
      expect(book.due(now)).toBeUndefined()
      now = book.nextAt() ?? now
    }
    expect(now).toBeGreaterThan(24 * 3_600_000)
    expect(now).toBeLessThan(30 * 3_600_000)
    expect(book.list(1)).toEqual([{ ...alert, delivery: 'failed', attempts: 9, problem: 'it answered 500' }])
  })

  test('without a webhook are kept for the page alone, and a removed one gets none', () => {
    const book = new AlertBook(memorySql())
    expect(book.note({ ...level, spent: 500 }, 1)).toBe(false)
    expect(book.list(1)[0]?.delivery).toBe('unsent')
    book.setWebhook({ tenant: 'acme', url: 'https://example.com', nonce: 'one' })
    book.note({ ...level, spent: 800 }, 2)
    book.removeWebhook()
    expect(book.nextAt()).toBeUndefined()
    expect(book.list(1)[0]).toMatchObject({ delivery: 'failed', problem: 'the webhook was removed' })
  })
})
