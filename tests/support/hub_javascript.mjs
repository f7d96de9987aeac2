// The client in JavaScript: lists and downloads a repository, says what the files are, and commits them to another one.
import { createHash } from "node:crypto";
import { commit, createRepo, downloadFile, fileExists, listFiles, modelInfo } from "@huggingface/hub";

const [from, to] = process.argv.slice(2);
const server = { hubUrl: process.env.HF_ENDPOINT, accessToken: process.env.HF_TOKEN };
const sums = {};
const operations = [];
for await (const { type, path } of listFiles({ repo: from, recursive: true, ...server })) {
  if (type !== "file") continue;
  const blob = await downloadFile({ repo: from, path, ...server });
  const content = new Uint8Array(await blob.arrayBuffer());
  sums[path] = createHash("sha256").update(content).digest("hex");
  operations.push({ operation: "addOrUpdate", path, content: new Blob([content]) });
}
await createRepo({ repo: to, visibility: "private", ...server });
const made = await commit({ repo: to, operations, title: "A copy", ...server });
const proposed = await commit({ repo: to, operations: operations.slice(0, 1), title: "Again", isPullRequest: true, ...server });
const known = await modelInfo({ name: to, additionalFields: ["sha"], ...server });
const missing = await fileExists({ repo: to, path: "nothing", ...server });
console.log(JSON.stringify({ sums, oid: made.commit.oid, pullRequest: proposed.pullRequestUrl, head: known.sha, missing }));
