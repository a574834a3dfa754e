import { env } from 'cloudflare:workers'
import { expect, test, vi } from 'vitest'
import { BackboneSlug, TenantId } from '../../shared/ids.ts'
import { platformOf } from '../platform.ts'
import { findBackbone } from './read.ts'

const slug = (at: number) => BackboneSlug.parse(`no-backbone-${at}`)

test('a tenant that asks for names at random drives nothing of another tenant out', async () => {
  const asked = vi.fn()
  const store = new Proxy(env.STORE, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property)
      if (typeof value !== 'function') return value
      return (...values: unknown[]) => {
        asked()
        return Reflect.apply(value, target, values)
      }
    },
  })
  const platform = platformOf({ ...env, STORE: store })
  const background = () => undefined
  const find = (tenant: string, at: number) =>
    findBackbone(slug(at), { tenant: TenantId.parse(tenant), reader: { platform, background } })
  await find('quiet', 0)
  for (let at = 0; at < 150; at++) await find('loud', at)
  asked.mockClear()
  await find('loud', 149)
  await find('quiet', 0)
  expect(asked).not.toHaveBeenCalled()
  await find('loud', 0)
  expect(asked).toHaveBeenCalledTimes(1)
})
