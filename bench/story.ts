/** New tokens of each request under load. */
export const storyTokens = 48

let asked = 0

/**
 * A prompt of about 70 tokens, or of 11 for each sentence. No two of a process begin alike, whatever their requests' numbers
 * and rounds: a server that keeps the rows of prompts finds none of them again.
 */
export function freshStory(sentences = 6): { prompt: string } {
  return { prompt: `${asked++} ${'Write a short story about a river and a boat. '.repeat(sentences)}` }
}
