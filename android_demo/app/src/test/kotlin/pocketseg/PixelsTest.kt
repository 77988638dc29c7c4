package pocketseg

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import pocketseg.pixels.Activation
import pocketseg.pixels.BackgroundBlur
import pocketseg.pixels.Box
import pocketseg.pixels.Columns
import pocketseg.pixels.ContourFill
import pocketseg.pixels.Dtype
import pocketseg.pixels.Fill
import pocketseg.pixels.Grid
import pocketseg.pixels.GuidedMask
import pocketseg.pixels.InputTensor
import pocketseg.pixels.Kind
import pocketseg.pixels.Orientation
import pocketseg.pixels.OutputTensor
import pocketseg.pixels.Quantization
import pocketseg.pixels.Size
import pocketseg.pixels.TemporalSmoothing
import pocketseg.pixels.Turn
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout
import pocketseg.pixels.YuvSampler
import pocketseg.pixels.blend
import pocketseg.pixels.cutOut
import pocketseg.pixels.palette
import pocketseg.pixels.placement
import pocketseg.pixels.sampleArgb
import pocketseg.pixels.sampleFloats
import pocketseg.pixels.sampleNearest
import pocketseg.pixels.sharpen
import pocketseg.pixels.tint
import pocketseg.pixels.toYuv

/** The Kotlin pixels against the project's Python. */
class PixelsTest {
    private companion object {
        const val GUIDED_LIMIT = 1e-4f
    }

    private val whole = Orientation()

    private fun sampled(pixels: IntArray, stored: Size, orientation: Orientation, crop: Box?, target: Size) =
        IntArray(target.pixels).also { Grid(placement(stored, orientation, crop, target), stored, target).sampleArgb(pixels, it) }

    @Test
    fun everyExifOrientationAtEverySizeIsWhatReadImageAndPrepareImageGive() {
        val stored = Golden.pixels("orientations/stored")
        val size = Golden.size("orientations/stored")
        for (tag in 1..8) for (target in listOf("same", "smaller", "larger", "one")) {
            val name = "orientations/$tag-$target"
            val actual = sampled(stored, size, Orientation.ofExif(tag), null, Golden.size(name))
            assertPixels(name, Golden.pixels(name), actual, limit = if (target == "same") 0 else 1)
        }
    }

    @Test
    fun cropIsInTheUprightPictureWhateverTheOrientation() {
        val stored = Golden.pixels("orientations/stored")
        for (tag in 1..8) {
            val name = "orientations/$tag-crop"
            val crop = Box(3.0, 5.0, 21.0, 14.0)
            // cv2 repeats the crop's own border; a crop of a camera frame may look one pixel further. Compare the inside.
            val target = Golden.size(name)
            val actual = sampled(stored, Golden.size("orientations/stored"), Orientation.ofExif(tag), crop, target)
            val inside = (0 until target.pixels).filter { it % target.width in 1..target.width - 2 && it / target.width in 1..target.height - 2 }
            val expected = Golden.pixels(name)
            assertPixels(name, inside.map { expected[it] }.toIntArray(), inside.map { actual[it] }.toIntArray(), limit = 1)
        }
    }

    @Test
    fun camerasAreTurnedByTheSensorAndTheDisplay() {
        // A phone held upright, its back camera's sensor lying on its side, as nearly all are.
        assertEquals(Orientation(Turn.RIGHT), Orientation.ofCamera(90, 0, front = false))
        assertEquals(Orientation(Turn.NONE), Orientation.ofCamera(90, 90, front = false))
        assertEquals(Orientation(Turn.HALF), Orientation.ofCamera(90, 270, front = false))
        assertEquals(Orientation(Turn.LEFT, mirror = true), Orientation.ofCamera(270, 0, front = true))
        assertEquals(Orientation(Turn.NONE, mirror = true), Orientation.ofCamera(270, 90, front = true))
    }

    @Test
    fun resizingIsPrepareImageForBytesAndFloats() {
        val size = Golden.size("resizes/image")
        for (target in listOf("same", "smaller", "larger", "one")) {
            val to = Golden.size("resizes/image-$target")
            val image = sampled(Golden.pixels("resizes/image"), size, whole, null, to)
            assertPixels("image-$target", Golden.pixels("resizes/image-$target"), image, limit = 0)
            val plane = FloatArray(to.pixels).also { Grid.resize(size, to).sampleFloats(Golden.floats("resizes/plane"), it) }
            assertArrayEquals("plane-$target", Golden.floats("resizes/plane-$target"), plane, 2e-5f)
        }
    }

    @Test
    fun nearestSamplesDoubleAndHalveLabels() {
        val labels = byteArrayOf(1, 2, 3, 4, 5, 6)
        val doubled = ByteArray(24).also { Grid.resize(Size(3, 2), Size(6, 4)).sampleNearest(labels, it) }
        assertArrayEquals(byteArrayOf(1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 4, 4, 5, 5, 6, 6), doubled)
        val same = ByteArray(6).also { Grid.resize(Size(3, 2), Size(3, 2)).sampleNearest(labels, it) }
        assertArrayEquals(labels, same)
    }

    /** I420 (planes) and NV21 (interleaved, padded rows): the layouts of emulators and of phones. */
    @Test
    fun yuvBecomesRgbInEveryLayoutAndRange() {
        val size = Golden.size("yuv/luma")
        val (luma, u, v) = listOf("luma", "u", "v").map { Golden.bytes("yuv/$it") }
        val chromaWidth = size.width / 2
        val stride = 2 * chromaWidth + 6
        val lumaStride = size.width + 6
        val paddedLuma = ByteArray(lumaStride * size.height) { if (it % lumaStride < size.width) luma[it / lumaStride * size.width + it % lumaStride] else 77 }
        val vu = ByteArray(stride * size.height / 2)
        for (i in u.indices) {
            vu[i / chromaWidth * stride + i % chromaWidth * 2] = v[i]
            vu[i / chromaWidth * stride + i % chromaWidth * 2 + 1] = u[i]
        }
        val place = placement(size, whole, null, size)
        val out = IntArray(size.pixels)
        for (colours in YuvColours.entries) {
            val expected = Golden.pixels("yuv/${colours.name.lowercase()}")
            YuvSampler(YuvLayout(size, size.width, chromaWidth, 1), place, size).sample(luma, u, v, colours, out)
            assertPixels("I420 $colours", expected, out, limit = 1)
            YuvSampler(YuvLayout(size, lumaStride, stride, 2), place, size).sample(paddedLuma, vu.copyOfRange(1, vu.size), vu, colours, out)
            assertPixels("NV21 $colours", expected, out, limit = 1)
        }
    }

    /** P010, which 10-bit videos are decoded to: two bytes a sample, the upper one second. */
    @Test
    fun tenBitLumaIsReadFromItsUpperByte() {
        val size = Golden.size("yuv/luma")
        val (luma, u, v) = listOf("luma", "u", "v").map { Golden.bytes("yuv/$it") }
        fun wide(bytes: ByteArray) = ByteArray(2 * bytes.size) { if (it % 2 == 1) bytes[it / 2] else 0x40 }
        val chroma = ByteArray(4 * u.size) { if (it % 4 == 1) u[it / 4] else if (it % 4 == 3) v[it / 4] else 0x40 }
        val layout = YuvLayout(size, 2 * size.width, 2 * size.width, 4, lumaPixelStride = 2)
        val out = IntArray(size.pixels)
        YuvSampler(layout, placement(size, whole, null, size), size).sample(
            wide(luma).copyOfRange(1, 2 * luma.size), chroma.copyOfRange(1, chroma.size), chroma.copyOfRange(3, chroma.size), YuvColours.LIMITED_601, out,
        )
        assertPixels("P010", Golden.pixels("yuv/limited_601"), out, limit = 1)
    }

    @Test
    fun framesForTheEncoderAreOpenCvsYuv() {
        val size = Golden.size("yuv/image")
        val (luma, u, v) = listOf("luma", "u", "v").map { Golden.bytes("yuv/$it") }
        val chroma = size.width / 2
        val difference = IntArray(3)
        fun compare(plane: Int, expected: Byte, actual: Int) {
            difference[plane] = maxOf(difference[plane], Math.abs((expected.toInt() and 255) - actual))
        }
        toYuv(
            Golden.pixels("yuv/image"), size.width, size, { x, y, value -> compare(0, luma[y * size.width + x], value) },
            { x, y, value -> compare(1, u[y * chroma + x], value) }, { x, y, value -> compare(2, v[y * chroma + x], value) },
        )
        assertTrue("${difference.toList()}", difference.all { it <= 1 })
    }

    @Test
    fun aCutOutIsTheMaskAsOpacity() {
        val size = Size(3, 1)
        val out = IntArray(3)
        Columns(size, 0, 3).cutOut(intArrayOf(-1, 0xFF102030.toInt(), -1), floatArrayOf(1f, 0f, 0.5f), out)
        assertArrayEquals(intArrayOf(-1, 0x00102030, 0x80FFFFFF.toInt()), out)
    }

    @Test
    fun turnedYuvIsTheTurnedPicture() {
        val size = Golden.size("yuv/luma")
        val layout = YuvLayout(size, size.width, size.width / 2, 1)
        val upright = Golden.pixels("yuv/full_601")
        for (tag in 1..8) {
            val orientation = Orientation.ofExif(tag)
            val target = orientation.upright(size)
            val place = placement(size, orientation, null, target)
            val out = IntArray(target.pixels)
            YuvSampler(layout, place, target).sample(Golden.bytes("yuv/luma"), Golden.bytes("yuv/u"), Golden.bytes("yuv/v"), YuvColours.FULL_601, out)
            assertPixels("tag $tag", sampled(upright, size, orientation, null, target), out, limit = 0)
        }
    }

    @Test
    fun inputTensorsHoldThePreparedImage() {
        val photo = Golden.pixels("tensors/photo")
        val source = Golden.size("tensors/photo")
        val size = Golden.size("tensors/uint8")
        for ((dtype, quantization) in listOf(Dtype.UINT8 to Quantization(1 / 255f, 0), Dtype.INT8 to Quantization(1 / 255f, -128))) {
            val input = InputTensor(size, dtype, quantization).apply { fill(photo, Grid.resize(source, size)) }
            val expected = Golden.bytes("tensors/${dtype.name.lowercase()}")
            val actual = ByteArray(expected.size).also(input.buffer::get)
            assertArrayEquals(dtype.name, expected, actual)
        }
        val input = InputTensor(size, Dtype.FLOAT32, Quantization()).apply { fill(photo, Grid.resize(source, size)) }
        val actual = FloatArray(size.pixels * 3).also { input.buffer.asFloatBuffer().get(it) }
        assertArrayEquals(Golden.floats("tensors/float32"), actual, 1e-6f)
    }

    @Test
    fun outputTensorsGiveTheForegroundOfPredict() {
        val five = OutputTensor(Golden.size("tensors/logits"), 5, Dtype.FLOAT32, Quantization(), Activation.SOFTMAX, 0.5f)
        five.buffer.asFloatBuffer().put(Golden.floats("tensors/logits"))
        five.read()
        assertArrayEquals(Golden.floats("tensors/logits-foreground"), five.foreground, 1e-5f)
        assertArrayEquals(Golden.bytes("tensors/logits-classes"), five.classes)
        val one = OutputTensor(Golden.size("tensors/stored"), 1, Dtype.INT8, Quantization(0.07f, -11), Activation.SIGMOID, 0.5f)
        one.buffer.put(Golden.bytes("tensors/stored"))
        one.read()
        assertArrayEquals(Golden.floats("tensors/stored-foreground"), one.foreground, 1e-5f)
        val two = OutputTensor(Golden.size("tensors/stored2"), 2, Dtype.UINT8, Quantization(0.05f, 120), Activation.SOFTMAX, 0.5f)
        two.buffer.put(Golden.bytes("tensors/stored2"))
        two.read()
        assertArrayEquals(Golden.floats("tensors/stored2-foreground"), two.foreground, 1e-5f)
    }

    @Test
    fun outputTensorsTakeProbabilitiesAsPythonDoes() {
        val five = OutputTensor(Golden.size("tensors/likely"), 5, Dtype.FLOAT32, Quantization(), Activation.SOFTMAX, 0.5f, Kind.PROBABILITIES)
        five.buffer.asFloatBuffer().put(Golden.floats("tensors/likely"))
        five.read()
        assertArrayEquals(Golden.floats("tensors/likely-foreground"), five.foreground, 1e-5f)
        assertArrayEquals("those of the logits", Golden.bytes("tensors/logits-classes"), five.classes)
        val one = OutputTensor(Golden.size("tensors/stored"), 1, Dtype.INT8, Quantization(1 / 256f, -128), Activation.SIGMOID, 0.7f, Kind.PROBABILITIES)
        val stored = Golden.bytes("tensors/stored")
        one.buffer.put(stored)
        one.read()
        assertArrayEquals(Golden.floats("tensors/likely-stored-foreground"), one.foreground, 1e-5f)
        assertArrayEquals("from 0.7 on", ByteArray(stored.size) { if ((stored[it] + 128) / 256f >= 0.7f) 1 else 0 }, one.classes)
        val two = OutputTensor(Golden.size("tensors/stored2"), 2, Dtype.UINT8, Quantization(1 / 255f, 0), Activation.SOFTMAX, 0.5f, Kind.PROBABILITIES)
        two.buffer.put(Golden.bytes("tensors/stored2"))
        two.read()
        assertArrayEquals(Golden.floats("tensors/likely-stored2-foreground"), two.foreground, 1e-5f)
    }

    /** Noise at first, then a part of the picture moves: keras_models/smoothing.py. */
    @Test
    fun smoothingOverTimeIsThatOfPredict() {
        val size = Size(151, 41)
        val (pictures, frames, expected) = Triple(Golden.pixels("video/pictures"), Golden.floats("video/frames"), Golden.floats("video/calm"))
        val smoothing = TemporalSmoothing(size, size)
        fun <T> frame(i: Int, cut: (Int, Int) -> T) = cut(i * size.pixels, (i + 1) * size.pixels)
        for (i in 0 until 5) {
            val mask = frame(i, frames::copyOfRange)
            smoothing.apply(mask, frame(i, pictures::copyOfRange), 0.8f)
            assertArrayEquals("frame $i", frame(i, expected::copyOfRange), mask, 2e-5f)
        }
        smoothing.reset()
        val mask = FloatArray(size.pixels) { 0.25f }.also { smoothing.apply(it, frame(0, pictures::copyOfRange), 0.8f) }
        assertArrayEquals(FloatArray(size.pixels) { 0.25f }, mask, 0f)
    }

    @Test
    fun aMaskOfAnotherSizeThanThePictureIsCalmedToo() {
        val (input, size) = Size(40, 20) to Size(20, 10)
        val smoothing = TemporalSmoothing(input, size)
        val still = IntArray(input.pixels) { 0xFF808080.toInt() }
        val moved = IntArray(input.pixels) { if (it % 40 < 20) 0xFF808080.toInt() else 0xFFF0F0F0.toInt() }
        smoothing.apply(FloatArray(size.pixels), still, 0.8f)
        val mask = FloatArray(size.pixels) { 1f }.also { smoothing.apply(it, moved, 0.8f) }
        assertEquals("stays", 0.2f, mask[5 * 20 + 3], 1e-5f)
        assertEquals("moved", 1f, mask[5 * 20 + 16], 1e-5f)
    }

    @Test
    fun filledContoursAreThoseOfOpenCv() {
        for ((blobs, fill, expected) in listOf(
            Triple("blobs", Fill.ALL, "filled"),
            Triple("blobs", Fill.LARGEST, "filled-largest"),
            Triple("wire", Fill.LARGEST, "wire-filled"),
            Triple("blobs", Fill.NONE, "blobs"),
        )) {
            val size = Golden.size("masks/$blobs")
            val mask = Golden.bytes("masks/$blobs").map { 0.3f + 0.4f * it }.toFloatArray()
            ContourFill(size).apply(mask, 0.5f, fill)
            val filled = ByteArray(mask.size) { if (mask[it] >= 0.5f) 1 else 0 }
            assertArrayEquals("$fill", Golden.bytes("masks/$expected"), filled)
        }
    }

    private fun guided(smallPhoto: IntArray, small: Size, photo: IntArray, size: Size, band: Int): FloatArray {
        val mask = GuidedMask(small).apply { fit(Golden.floats("masks/rough"), smallPhoto, 3, 1e-3f) }
        val grid = Grid.resize(small, size)
        val whole = FloatArray(size.pixels)
        for (top in 0 until size.height step band) {
            val until = minOf(size.height, top + band)
            val rows = FloatArray((until - top) * size.width)
            mask.draw(grid, photo.copyOfRange(top * size.width, until * size.width), FloatArray(rows.size), rows, top, until)
            rows.copyInto(whole, top * size.width)
        }
        return whole
    }

    @Test
    fun guidedMasksAreThoseOfTheGuidedFilterWholeAndBandByBand() {
        val small = Golden.size("masks/rough")
        val photo = Golden.pixels("masks/photo")
        assertArrayEquals(Golden.floats("masks/guided"), guided(photo, small, photo, small, small.height), GUIDED_LIMIT)
        val large = Golden.size("masks/large")
        for (band in listOf(large.height, 17, 1)) {
            val mask = guided(Golden.pixels("masks/small"), small, Golden.pixels("masks/large"), large, band)
            assertArrayEquals("bands of $band", Golden.floats("masks/guided-large"), mask, GUIDED_LIMIT)
        }
    }

    @Test
    fun opacityIsThatOfPredict() {
        val small = Golden.size("masks/rough")
        val large = Golden.size("masks/large")
        val mask = FloatArray(large.pixels).also { Grid.resize(small, large).sampleFloats(Golden.floats("masks/rough"), it) }
        sharpen(mask, 0.5f)
        assertArrayEquals(Golden.floats("masks/alpha"), mask, 1e-4f)
    }

    @Test
    fun blendsAndTintsAreThoseOfPredictAndPictures() {
        val photo = Golden.pixels("effects/photo")
        val mask = Golden.floats("effects/mask")
        val size = Golden.size("effects/photo")
        val all = Columns(size, 0, size.width)
        val out = IntArray(size.pixels)
        all.blend(photo, Golden.pixels("effects/behind"), mask, out)
        assertPixels("blend", Golden.pixels("effects/blend"), out, limit = 1)
        all.tint(photo, Golden.bytes("effects/labels"), palette(6), 0.5f, out)
        assertPixels("overlay", Golden.pixels("effects/overlay"), out, limit = 1)
        all.tint(photo, mask, palette(2)[1], 0.5f, out)
        assertPixels("tint", Golden.pixels("effects/tint"), out, limit = 1)
        assertPixels("palette", Golden.pixels("effects/palette2"), palette(2), limit = 0)
        assertPixels("palette", Golden.pixels("effects/palette20"), palette(20), limit = 0)
    }

    @Test
    fun columnsOutsideAreLeftAlone() {
        val size = Size(4, 2)
        val out = IntArray(8) { 7 }
        Columns(size, 2, 4).blend(IntArray(8) { -1 }, 0xFF shl 24, FloatArray(8) { 1f }, out)
        assertArrayEquals(intArrayOf(7, 7, -1, -1, 7, 7, -1, -1), out)
    }

    /** The phone blurs at a quarter of the size with three boxes; predict with a Gaussian at full size. */
    @Test
    fun blurredBackgroundIsNearlyThatOfPredict() {
        val size = Golden.size("effects/photo")
        val mask = Golden.floats("effects/mask")
        val blurred = IntArray(size.pixels)
        val blur = BackgroundBlur(size).apply { apply(Golden.pixels("effects/photo"), mask, 0.06f) }
        Grid.resize(blur.small, size).sampleArgb(blur.blurred, blurred)
        val behind = mask.indices.filter { mask[it] < 0.5f } // what is seen of it
        val expected = Golden.pixels("effects/blurred")
        val mean = assertPixels("blur", behind.map { expected[it] }.toIntArray(), behind.map { blurred[it] }.toIntArray(), limit = 40)
        assertTrue("mean difference $mean", mean < 1.0)
    }
}
