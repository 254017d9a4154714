// node run_driver.js REQUEST ANSWER: what `answers` says of a file's scene and requests.

import { readFileSync, writeFileSync } from "node:fs";
import { answers } from "./driver.js";

const [request, answer] = process.argv.slice(2);
const { scene, requests } = JSON.parse(readFileSync(request, "utf8"));
writeFileSync(answer, JSON.stringify(answers(scene, requests)));
