import { describe, expect, test } from 'vitest'
import { TestEdge } from '../../test/edge/edge.ts'

describe('the console', () => {
  const edge = new TestEdge()

  test('is a page that loads its own files alone and runs nothing inline', async () => {
    const page = await edge.fetch('/console/')
    expect(page.status).toBe(200)
    expect(page.headers.get('content-security-policy')).toContain(
      "default-src 'none'; script-src 'self'; style-src 'self'",
    )
    expect(page.headers.get('x-content-type-options')).toBe('nosniff')
    const html = await page.text()
    expect(html).not.toMatch(/<script(?![^>]* src=)|<style| style=| on[a-z]+=/)
    const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path ?? '')
    expect(loaded.length).toBeGreaterThan(2)
    for (const path of loaded) {
      expect(path).toMatch(/^\/console\//)
      expect((await edge.fetch(path)).status, path).toBe(200)
    }
  })

  test('loads in under 150 kB, compressed', async () => {
    let bytes = 0
    for (const path of ['/console/', '/console/console.js', '/console/console.css', '/console/icon.svg']) {
      const { body } = await edge.fetch(path)
      if (body === null) throw new Error(`${path} has no body`)
      bytes += (await new Response(body.pipeThrough(new CompressionStream('gzip'))).arrayBuffer()).byteLength
    }
    expect(bytes).toBeLessThan(150_000)
  })

  test('answers a file that it does not have, and another method, as every unknown path', async () => {
    expect((await edge.fetch('/console/nothing.js')).status).toBe(404)
    expect((await edge.fetch('/console/', { method: 'POST' })).status).toBe(404)
  })
})
