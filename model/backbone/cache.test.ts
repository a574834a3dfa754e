import { homedir } from 'node:os'
import { expect, test } from 'vitest'
import { openCache } from './cache.ts'

test('the cache lies where QUARTET_CACHE says, else where the XDG convention does', () => {
  expect(openCache({ QUARTET_CACHE: '/a', XDG_CACHE_HOME: '/b' }).root).toBe('/a')
  expect(openCache({ XDG_CACHE_HOME: '/b' }).root).toBe('/b/quartet')
  expect(openCache({ QUARTET_CACHE: '', XDG_CACHE_HOME: '' }).root).toBe(`${homedir()}/.cache/quartet`)
})

test('a slug names one folder inside the cache and never a path', () => {
  const cache = openCache({ QUARTET_CACHE: '/a' })
  expect(cache.backbone('model-1', 'q8')).toBe('/a/backbones/model-1-q8')
  for (const slug of ['../x', 'a/b', '', '.', 'A', 'x'.repeat(65)])
    expect(() => cache.backbone(slug, 'q8')).toThrow(/a backbone slug has/)
})
