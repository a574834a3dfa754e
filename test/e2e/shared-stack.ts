import OpenAI from 'openai'
import { inject } from 'vitest'
import type { SharedStack } from './global-setup.ts'

/** The stack that `global-setup.ts` started, and clients of its tenants. */
export const stack: SharedStack = inject('stack')

function tenantWith(alias: string): { readonly id: string; readonly key: string } {
  const tenant = stack.tenants.find(({ aliases }) => aliases.includes(alias))
  if (tenant === undefined) throw new Error(`no demo tenant has the alias ${alias}`)
  return tenant
}

export function clientOf(key: string): OpenAI {
  return new OpenAI({ baseURL: `${stack.edge}/v1`, apiKey: key, maxRetries: 0 })
}

export const pirate = tenantWith('pirate')
export const helpDesk = tenantWith('tickets')
export const cafe = tenantWith('orders')

/** A raw request with the pirate tenant's key. */
export function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${stack.edge}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${pirate.key}`, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
}
