import { expect, test } from 'vitest'
import { freshStory } from './story.ts'

test('no two prompts under load begin alike', () => {
  const beginnings = Array.from({ length: 1000 }, () => freshStory().prompt.split(' ')[0])
  expect(new Set(beginnings).size).toBe(1000)
})
